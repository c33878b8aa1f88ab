"""Learning rates and margins as functions of the step, or of the validations so far: nothing to save, nothing to restore."""

import math


def lr_at(options, step, total, steps_per_epoch, values):
    """The learning rate at a step (0-based) of `total` as a share of --lr, by the options of steps/train.py.

    values: what a plateau is judged by, so far, the lower the better
    """
    if options.schedule == "one-cycle":
        return one_cycle_share(step, total, options.pct_start, options.div_factor, options.final_div_factor)
    warm = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    if options.schedule == "cyclic":
        return warm * cyclic_share(step, options.cycle_epochs * steps_per_epoch, options.final_lr_share, options.cycle_decay)
    if options.schedule == "plateau":
        return warm * plateau_share(values, options.patience, options.lr_factor)
    return lr_share(options.schedule, step, total, options.warmup_steps, options.final_lr_share)


def lr_share(schedule, step, total, warmup, final_share):
    """The learning rate at a step (0-based) as a share of its peak: linear warm-up, then `schedule` down to final_share at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
    if schedule == "cosine":
        return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "exponential":
        return final_share**progress
    assert schedule == "constant", schedule
    return 1.0


def one_cycle_share(step, total, rise_share, div, final_div):
    """The same for one cycle: from 1 / div by a half cosine to 1 over rise_share of the steps, then by another to 1 / (div final_div) at the last.

    Smith and Topin, "Super-convergence", 2018, in the form of torch's OneCycleLR with two phases.
    """
    peak, last = rise_share * total - 1, total - 1
    if step <= peak:
        return _cosine(1 / div, 1.0, step / peak if peak else 1.0)
    return _cosine(1.0, 1 / (div * final_div), min(1.0, (step - peak) / (last - peak)) if last > peak else 1.0)


def cyclic_share(step, cycle, low, decay):
    """The same for cycles of `cycle` steps: a line from low to 1 and back; the height above low is `decay` times smaller from cycle to cycle.

    Smith, "Cyclical learning rates for training neural networks", WACV 2017: decay 1: triangular, 1/2: triangular2.
    """
    turn, place = divmod(step, cycle)
    return low + (1 - low) * decay**turn * (1 - abs(2 * place / cycle - 1))


def plateau_share(values, patience, factor):
    """The same by validations: `factor` times less for every `patience` of them in a row without a new best.

    values: of all validations so far, the lower the better (error rates; the negative of an accuracy). DeepSpeakerVGG: patience 15, factor 0.5.
    """
    reductions, since = 0, 0
    best = math.inf
    for value in values:
        since = 0 if value < best else since + 1
        best = min(best, value)
        reductions += since > 0 and since % patience == 0
    return factor**reductions


def validations_since_best(values):
    """How many validations have passed without a new best, for early stopping; values: the lower the better"""
    return len(values) - 1 - values.index(min(values)) if values else 0


def margin_share(epoch_progress, warmup_epochs, start_epoch=0.0, shape="linear"):
    """The margin as a share of its final value: 0 before start_epoch, then growing over warmup_epochs epochs.

    epoch_progress: epochs done, fractions included; shape exponential: quickly first, 1 - 0.001^progress, as wespeaker has it
    """
    if epoch_progress >= start_epoch + warmup_epochs:
        return 1.0
    progress = max(0.0, epoch_progress - start_epoch) / warmup_epochs
    return 1 - 1e-3**progress if shape == "exponential" else progress


def range_test_lr(step, total, low=1e-6, high=10.0):
    """The learning rate at a step of a range test: from low to high by a constant factor a step. Smith, WACV 2017, section 3.3."""
    return low * (high / low) ** (step / max(1, total - 1))


def suggest_lr(lrs, losses):
    """From a range test: half the upper end of the decade of learning rates over which the loss, smoothed over a third of a decade, fell most.

    lrs: rising by a constant factor; losses: at each, the test ends where one is not finite. None where the loss fell over no whole decade.
    """
    losses = losses[: next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))]
    decade = max(1, round((len(lrs) - 1) / math.log10(lrs[-1] / lrs[0]))) if len(lrs) > 1 else 1  # steps
    reach = decade // 6
    smooth = [sum(part) / len(part) for part in (losses[max(0, place - reach) : place + reach + 1] for place in range(len(losses)))]
    falls = [smooth[place] - smooth[place - decade] for place in range(decade, len(smooth))]
    if not falls or min(falls) >= 0:
        return None
    return lrs[decade + falls.index(min(falls))] / 2


def _cosine(start, end, progress):
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))
