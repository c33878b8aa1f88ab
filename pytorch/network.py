"""What is trained as a whole: a network and the loss on top of it."""

from torch import nn


class Network(nn.Module):
    """Model and loss as one module: their state is saved, moved and optimised together."""

    def __init__(self, model, loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x, targets, stage, chunks=1):
        """x: what the model takes, chunks * B rows; targets: of the loss, B -> its loss and figures

        chunks: rows next to one another that are of one utterance; the mean of their outputs is what the loss sees
        """
        out = self.model(x)  # (chunks * B, dim)
        return self.loss(out.unflatten(0, (-1, chunks)).mean(1) if chunks > 1 else out, targets, stage)
