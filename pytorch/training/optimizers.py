"""Optimisers: torch's, fused where it has them so; rows of a weight that a step saw a sample of; gradients, their norm and their parts."""

import torch
from torch import distributed, nn


def build_optimizer(name, weights, lr, weight_decay, momentum, nesterov=True):
    """name: sgd, adam, adamw or rmsprop; weights: parameters or groups of them; momentum, nesterov: of sgd"""
    groups = list(weights)
    tensors = [tensor for group in groups for tensor in (group["params"] if isinstance(group, dict) else [group])]
    fused = all(tensor.device.type in ("cpu", "cuda") for tensor in tensors)
    if name == "sgd":
        return torch.optim.SGD(groups, lr, momentum=momentum, nesterov=nesterov and momentum > 0, weight_decay=weight_decay, fused=fused)
    if name == "rmsprop":  # torch has none fused
        return torch.optim.RMSprop(groups, lr, weight_decay=weight_decay)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](groups, lr, weight_decay=weight_decay, fused=fused)


def weight_groups(network, decay_all):
    """The parameters of `network` that are trained, in groups for build_optimizer: unless decay_all, biases and the gains of norms do not decay."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    if decay_all:
        return [{"params": trained}]
    decaying, others = ([weight for weight in trained if (weight.dim() > 1) == decays] for decays in (True, False))
    return [group for group in ({"params": decaying}, {"params": others, "weight_decay": 0.0}) if group["params"]]


def clip_gradients(weights, largest):
    """Scale all gradients down to a common norm of at most `largest`, as torch's clip_grad_norm_, which knows no sparse ones; -> the norm before."""
    gradients = [gradient_numbers(weight) for weight in weights if weight.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if largest < float("inf"):
        share = (largest / (norm + 1e-6)).clamp(max=1)
        torch._foreach_mul_([gradient.detach() for gradient in gradients], share)
    return norm


def gradient_numbers(weight):
    """The gradient of a weight as a dense tensor, which shares its memory: the rows it has where it is sparse"""
    if weight.grad.is_sparse:
        weight.grad = weight.grad.coalesce()  # rows that stand twice, after two parts of a batch, are added
    return weight.grad.values() if weight.grad.is_sparse else weight.grad


def take_step(optimizer, good=None):
    """optimizer.step(), unless `good` is false; good: () bool tensor, nobody waits for it on a card but RMSprop, which torch has not fused.

    Weights with a sparse gradient (heads that saw a sample of their classes) have only the rows of this gradient updated. A row is updated as the
    optimiser would update it alone, were the steps that sampled it all there are: decay, momentum and Adam's correction for the first steps count
    these. The state lies where torch's does, `step` with one count for each row, so that it is saved and loaded as torch's is.
    """
    if good is None:
        good = torch.ones((), dtype=torch.bool, device=optimizer.param_groups[0]["params"][0].device)
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None and weight.grad.is_sparse:
                _update_rows(optimizer, group, weight, good)
                weight.grad = None
            elif weight.grad is not None and group.get("momentum") and isinstance(optimizer, torch.optim.SGD) and not optimizer.state[weight]:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)  # torch's own would be unset memory were the first step a bad one
    if isinstance(optimizer, torch.optim.RMSprop):
        if good:
            optimizer.step()
        return
    optimizer.found_inf = (~good).float()  # how torch's GradScaler tells a fused optimiser to leave a step out
    optimizer.step()


def average_rows(weights):
    """Make sparse gradients the means over all processes, as DDP does with others. The processes sampled the same classes, so their rows are the same."""
    for weight in weights:
        if weight.grad is not None and weight.grad.is_sparse:
            distributed.all_reduce(gradient_numbers(weight))
            gradient_numbers(weight).div_(distributed.get_world_size())


BLOCK = 1 << 17  # numbers at a time, which stay in the processor's cache over the few operations on them


@torch.no_grad()
def _update_rows(optimizer, group, weight, good):
    if weight.device.type == "cpu" and not good:
        return
    values, rows = gradient_numbers(weight), weight.grad.indices()[0]
    state = optimizer.state[weight]
    if not state:
        state["step"] = torch.zeros(len(weight), device=weight.device)
        state.update({name: torch.zeros_like(weight) for name in _moments(optimizer, group)})
    update = {torch.optim.SGD: _sgd, torch.optim.RMSprop: _rmsprop, torch.optim.Adam: _adam, torch.optim.AdamW: _adam}[type(optimizer)]
    size = max(1, BLOCK // weight.shape[1]) if weight.device.type == "cpu" else len(rows)
    for index, change in zip(rows.split(size), values.split(size), strict=True):
        own = {name: tensor.index_select(0, index) for name, tensor in state.items()}
        own["weight"] = weight.index_select(0, index)
        before = {name: tensor.clone() for name, tensor in own.items()} if weight.is_cuda else {}
        own["step"] += 1
        update(own["weight"], change, own, group)
        for name, tensor in own.items():
            (weight if name == "weight" else state[name]).index_copy_(0, index, torch.where(good, tensor, before[name]) if before else tensor)


def _moments(optimizer, group):
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is one
        return ["exp_avg", "exp_avg_sq"]
    if isinstance(optimizer, torch.optim.RMSprop):
        return ["square_avg"]
    return ["momentum_buffer"] if group["momentum"] else []


def _sgd(value, change, own, group):
    if group["weight_decay"]:
        change = change.add(value, alpha=group["weight_decay"])
    if group["momentum"]:
        moment = own["momentum_buffer"].mul_(group["momentum"]).add_(change)
        change = change.add(moment, alpha=group["momentum"]) if group["nesterov"] else moment
    value.add_(change, alpha=-group["lr"])


def _adam(value, change, own, group):
    """Kingma and Ba, "Adam", ICLR 2015, algorithm 1; decoupled weight decay: Loshchilov and Hutter, ICLR 2019, algorithm 2."""
    first, second = group["betas"]
    if group["decoupled_weight_decay"]:
        value.mul_(1 - group["lr"] * group["weight_decay"])
    elif group["weight_decay"]:
        change = change.add(value, alpha=group["weight_decay"])
    own["exp_avg"].lerp_(change, 1 - first)
    own["exp_avg_sq"].mul_(second).addcmul_(change, change, value=1 - second)
    steps = own["step"][:, None]
    size, root = group["lr"] / (1 - first**steps), (1 - second**steps).sqrt()  # (rows, 1)
    value.sub_(own["exp_avg"].mul(size * root).div_(own["exp_avg_sq"].sqrt().add_(group["eps"] * root)))


def _rmsprop(value, change, own, group):
    if group["weight_decay"]:
        change = change.add(value, alpha=group["weight_decay"])
    own["square_avg"].mul_(group["alpha"]).addcmul_(change, change, value=1 - group["alpha"])
    value.addcdiv_(change, own["square_avg"].sqrt().add_(group["eps"]), value=-group["lr"])


def parts_of_batch(x, targets, parts):
    """A batch in `parts` parts, for gradient accumulation -> (x, targets, share) of each: losses times their shares add up to the mean loss of the batch.

    x: (chunks * B, …); targets: (B, …). That holds for losses that are means over examples; batch normalisation, weighted means and losses over pairs
    see each part by itself.
    """
    chunks = len(x) // len(targets)
    for part, wanted in zip(x.unflatten(0, (-1, chunks)).tensor_split(parts), targets.tensor_split(parts), strict=True):
        if len(part):
            yield part.flatten(0, 1), wanted, len(part) / len(targets)
