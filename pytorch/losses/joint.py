"""Two targets of each example at once: a class and a number."""

from pytorch.arguments import need_at_most
from pytorch.losses.base import Loss


class Joint(Loss):
    """share times a loss over classes plus 1 - share times a regression, of the same network output.

    targets: (B, 2): class number, value. The figure of each example is that of the class.
    """

    def __init__(self, in_dim, num_classes, classes, numbers, share=0.5):
        super().__init__()
        need_at_most("--loss-args", 1, share=share)
        self.classes, self.numbers, self.share = classes, numbers, share
        self.scores_are_logits, self.has_margin = classes.scores_are_logits, classes.has_margin

    def fit(self, targets):
        self.classes.fit(targets[:, 0])
        self.numbers.fit(targets[:, 1])

    def _scores(self, x):
        return self.classes.scores(x)

    def _loss(self, x, targets, stage):
        of_class, right = self.classes(x, targets[:, 0].long(), stage)
        of_number, _ = self.numbers(x, targets[:, 1], stage)
        return self.share * of_class + (1 - self.share) * of_number, right
