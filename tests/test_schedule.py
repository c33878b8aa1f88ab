"""pytorch/training: schedules equal torch's, optimisers of sampled rows equal torch's row by row, averages and frozen parts are what they say."""

import math

import pytest
import torch
from support import failure
from torch import nn

from pytorch.experiment import save_tensors
from pytorch.losses import build_loss
from pytorch.losses.base import Stage
from pytorch.training.checkpoint import load_state, save_state
from pytorch.training.optimizers import BLOCK, average_rows, build_optimizer, clip_gradients, parts_of_batch, take_step, weight_groups
from pytorch.training.schedule import (
    cyclic_share,
    lr_at,
    lr_share,
    margin_share,
    one_cycle_share,
    plateau_share,
    range_test_lr,
    suggest_lr,
    validations_since_best,
)
from pytorch.training.weights import Buffers, RunningAverage, average_epochs, freeze


def curve_of(make, steps, lr=1.0):
    """The learning rates of torch's scheduler make(optimizer), from the first step on"""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


# ---- schedules


def test_cosine_and_exponential_equal_torchs():
    cosine = curve_of(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 99, eta_min=0.01), 100)
    exponential = curve_of(lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / 99)), 100)
    assert [lr_share("cosine", step, 100, 0, 0.01) for step in range(100)] == pytest.approx(cosine, rel=1e-9)
    assert [lr_share("exponential", step, 100, 0, 0.01) for step in range(100)] == pytest.approx(exponential, rel=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
def test_warm_up_is_a_line_to_the_peak_and_the_rest_follows_on(schedule):
    rates = [lr_share(schedule, step, 50, 10, 0.1) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1
    assert rates[-1] == pytest.approx(1 if schedule == "constant" else 0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("total, rise, div, final_div", [(20 * 341, 0.15, 5, 1e3), (1000, 0.3, 25, 1e4), (37, 0.15, 5, 1e3), (10, 0.1, 5, 10), (3, 0.5, 5, 10)])
def test_one_cycle_equals_torchs_over_the_whole_curve(total, rise, div, final_div):
    """The first is that of dnn_embeddings_pytorch: max_lr 0.002 from 0.0004, 0.15 of the steps up, down to 0.0004 / 1000; stepped with each update."""
    if rise * total == 1:
        assert one_cycle_share(0, total, rise, div, final_div) == 1  # torch divides by zero here
        return
    expected = curve_of(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 2e-3, total_steps=total, pct_start=rise, div_factor=div, final_div_factor=final_div, cycle_momentum=False
        ),
        total - 1,  # torch raises when asked for one more
        2e-3,
    )
    assert [2e-3 * one_cycle_share(step, total, rise, div, final_div) for step in range(total - 1)] == pytest.approx(expected, rel=1e-12)
    assert one_cycle_share(total - 1, total, rise, div, final_div) == pytest.approx(1 / (div * final_div))
    assert one_cycle_share(total + 5, total, rise, div, final_div) == pytest.approx(1 / (div * final_div))


@pytest.mark.parametrize("mode, decay", [("triangular", 1.0), ("triangular2", 0.5)])
def test_cycles_equal_torchs(mode, decay):
    expected = curve_of(lambda optimizer: torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, step_size_up=10, mode=mode, cycle_momentum=False), 75, 0.1)
    assert [cyclic_share(step, 20, 0.1, decay) for step in range(75)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("patience, factor", [(1, 0.5), (3, 0.5), (15, 0.5), (4, 0.1)])
def test_plateaus_equal_torchs(patience, factor):
    values = (torch.rand(120, generator=torch.Generator().manual_seed(patience)) - torch.arange(120) / 90).round(decimals=1).tolist()  # with ties
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience - 1, threshold=0, eps=0)
    for done in range(len(values)):
        assert plateau_share(values[:done], patience, factor) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        scheduler.step(values[done])


def test_the_learning_rate_is_halved_at_the_fifteenth_validation_without_gain():
    values = [0.1] + [0.2] * 40
    assert [plateau_share(values[: 1 + stale], 15, 0.5) for stale in (0, 14, 15, 29, 30)] == [1, 1, 0.5, 0.5, 0.25]
    assert plateau_share([*values[:20], 0.05, *values[1:10]], 15, 0.5) == 0.5


def test_validations_since_the_best_count_from_its_first_time():
    assert validations_since_best([]) == 0
    assert validations_since_best([0.3]) == 0
    assert validations_since_best([0.3, 0.2, 0.2, 0.4]) == 2


def test_margins_grow_between_two_epochs():
    assert margin_share(0.0, 0.0) == 1
    assert [margin_share(epoch, 4.0) for epoch in (0, 1, 3, 4, 9)] == [0, 0.25, 0.75, 1, 1]
    assert [margin_share(epoch, 20.0, 20.0) for epoch in (0, 20, 25, 40, 41)] == [0, 0, 0.25, 1, 1]
    expected = [1 - math.exp(place / 20 * math.log(1e-3)) for place in range(20)]
    assert [margin_share(20 + place, 20.0, 20.0, "exponential") for place in range(20)] == pytest.approx(expected)
    assert margin_share(40, 20.0, 20.0, "exponential") == 1


def test_a_range_test_goes_from_low_to_high_and_suggests_half_the_best_decade():
    lrs = [range_test_lr(step, 701) for step in range(701)]
    assert lrs[0] == pytest.approx(1e-6)
    assert lrs[-1] == pytest.approx(10)
    assert lrs[100] / lrs[0] == pytest.approx(10)
    noise = torch.randn(701, generator=torch.Generator().manual_seed(0)).tolist()
    falls = [5 - 4 / (1 + math.exp(-4 * (math.log10(lr) + 2.5))) for lr in lrs]  # steepest at 10^-2.5: the decade from 10^-3 to 10^-2
    losses = [loss + 0.05 * chance + max(0.0, lr - 0.3) ** 2 * 100 for loss, chance, lr in zip(falls, noise, lrs, strict=True)]
    assert suggest_lr(lrs, losses) == pytest.approx(0.005, rel=0.2)
    losses[600:] = [math.nan] * 101
    assert suggest_lr(lrs, losses) == pytest.approx(0.005, rel=0.2)


class Told:
    warmup_steps, final_lr_share, pct_start, div_factor, final_div_factor = 4, 0.1, 0.15, 5.0, 1000.0
    cycle_epochs, cycle_decay, patience, lr_factor = 2.0, 0.5, 2, 0.5

    def __init__(self, schedule):
        self.schedule = schedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 1.0, 1.0, 1.0]),
        ("one-cycle", [0.2, 0.5 * 1.2 - 0.4 * math.cos(math.pi * 10 / 14), None, 1 / 5000]),
        ("cyclic", [0.1 / 4, 0.55, 1.0, 0.1 + 0.9 * 0.5 * 0.95]),
        ("plateau", [0.25, 1.0, 1.0, 1.0]),
    ],
)
def test_the_options_choose_the_learning_rate_of_a_step(schedule, expected):
    rates = [lr_at(Told(schedule), step, 100, 20, []) for step in (0, 10, 20, 99)]
    if schedule == "cyclic":
        assert rates[3] == pytest.approx(cyclic_share(99, 40.0, 0.1, 0.5))
        rates, expected = rates[:3], expected[:3]
    for rate, wanted in zip(rates, expected, strict=True):
        assert wanted is None or rate == pytest.approx(wanted)


def test_a_plateau_lowers_the_learning_rate_by_the_validations_so_far():
    assert [lr_at(Told("plateau"), 50, 100, 20, values) for values in ([1, 2], [1, 2, 3], [1, 2, 3, 0.5, 0.6], [1, 2, 3, 4, 5])] == [1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("losses", [[5.0] * 71, [float(step) for step in range(71)], [3.0, 2.0, math.inf] + [1.0] * 68, [1.0]])
def test_a_range_test_in_which_the_loss_falls_nowhere_suggests_nothing(losses):
    assert suggest_lr([range_test_lr(step, len(losses)) for step in range(len(losses))], losses) is None


# ---- optimisers


OPTIMIZERS = [
    ("sgd", {"weight_decay": 0.1, "momentum": 0.9}),
    ("sgd", {"weight_decay": 0.1, "momentum": 0.9, "nesterov": False}),
    ("sgd", {"weight_decay": 0.0, "momentum": 0.0}),
    ("adam", {"weight_decay": 0.1, "momentum": 0.0}),
    ("adamw", {"weight_decay": 0.1, "momentum": 0.0}),
    ("rmsprop", {"weight_decay": 0.1, "momentum": 0.9}),
]


@pytest.mark.parametrize("name, more", OPTIMIZERS)
def test_optimisers_are_torchs(name, more):
    weights = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))]
    optimizer = build_optimizer(name, weights, 0.01, **more)
    group = optimizer.param_groups[0]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[name]
    assert type(optimizer) is kind
    assert group["lr"] == 0.01
    assert group["weight_decay"] == more["weight_decay"]
    assert group.get("momentum", 0.0) == (more["momentum"] if name == "sgd" else 0.0)
    assert group.get("nesterov", False) == (name == "sgd" and more["momentum"] > 0 and more.get("nesterov", True))
    assert group.get("fused", False) == (name != "rmsprop")


def sparse(rows, values, size):
    with torch.sparse.check_sparse_tensor_invariants():
        return torch.sparse_coo_tensor(torch.tensor(rows)[None], values, size)


@pytest.mark.parametrize("name, more", OPTIMIZERS)
def test_sampled_rows_are_updated_as_torch_would_update_each_alone(name, more):
    torch.manual_seed(0)
    weight, other = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))
    alone = [nn.Parameter(row.clone()) for row in weight.detach()]
    other_alone = nn.Parameter(other.detach().clone())
    optimizer = build_optimizer(name, [weight, other], 0.01, **more)
    own = [build_optimizer(name, [row], 0.01, **more) for row in (*alone, other_alone)]
    for step, rows in enumerate([[0, 3], [3], [1, 2, 3], [4, 0, 3], [3, 0], [2, 0, 3]]):
        lr = 0.01 * (1 + step)
        values, other.grad = torch.randn(len(rows), 3), torch.randn(4)
        weight.grad, other_alone.grad = sparse(rows, values, (5, 3)), other.grad.clone()
        optimizer.param_groups[0]["lr"] = lr
        take_step(optimizer)
        for row, value in [*zip(rows, values, strict=True), (5, None)]:
            if value is not None:
                alone[row].grad = value.clone()
            own[row].param_groups[0]["lr"] = lr
            own[row].step()
    torch.testing.assert_close(weight, torch.stack(list(alone)), rtol=1e-5, atol=1e-6)
    assert torch.equal(other, other_alone)


def test_rows_that_were_not_sampled_stay_bit_for_bit_with_their_state():
    weight = nn.Parameter(torch.randn(6, 3))
    optimizer = build_optimizer("adamw", [weight], 0.1, 0.1, 0.9)
    before = weight.detach().clone()
    weight.grad = sparse([1, 4], torch.randn(2, 3), (6, 3))
    take_step(optimizer)
    assert (weight == before).all(1).tolist() == [True, False, True, True, False, True]
    assert optimizer.state[weight]["step"].tolist() == [0, 1, 0, 0, 1, 0]


def test_many_rows_are_updated_as_few_are():
    rows = BLOCK // 8 + 100
    weight = nn.Parameter(torch.randn(rows, 8))
    few = nn.Parameter(weight.detach()[-50:].clone())
    gradient = torch.randn(rows, 8)
    for parameter, change in ((weight, gradient), (few, gradient[-50:])):
        optimizer = build_optimizer("adam", [parameter], 0.1, 0.0, 0.9)
        parameter.grad = sparse(list(range(len(change))), change, parameter.shape)
        take_step(optimizer)
    assert torch.equal(weight[-50:], few)


def sampled_network():
    torch.manual_seed(0)
    return nn.ModuleDict({"model": nn.Linear(5, 8), "loss": build_loss("aam", 8, 40, {"sampled_classes": 12, "scale": 10.0})})


def train_sampled(network, optimizer, steps):
    for step in steps:
        torch.manual_seed(step)
        targets = torch.randint(40, (10,))
        x = torch.nn.functional.one_hot(targets % 5, 5).float() + 0.1 * torch.randn(10, 5)
        optimizer.zero_grad(set_to_none=True)
        network["loss"](network["model"](x), targets, Stage(step=step, seed=1))[0].backward()
        norm = clip_gradients(network.parameters(), 1.0)
        assert torch.isfinite(norm)
        take_step(optimizer)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_saved_and_loaded_training_with_sampled_classes_goes_on_bit_for_bit(name, tmp_path):
    def start():
        network = sampled_network()
        return network, build_optimizer(name, network.parameters(), 0.01, 0.01, 0.9)

    whole, optimizer = start()
    train_sampled(whole, optimizer, range(12))
    first, optimizer = start()
    train_sampled(first, optimizer, range(7))
    save_state(tmp_path / "state.safetensors", first, optimizer, {})
    second, optimizer = start()
    load_state(tmp_path / "state.safetensors", second, optimizer)
    train_sampled(second, optimizer, range(7, 12))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_clipping_equals_torchs_and_counts_sparse_gradients_once():
    torch.manual_seed(0)
    dense = [nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(5))]
    mixed = [nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(2))]  # the last has no gradient
    values = torch.randn(3, 3)
    for weights in (dense, mixed):
        weights[1].grad = torch.arange(5.0)
    dense[0].grad = torch.zeros(4, 3).index_add(0, torch.tensor([2, 0, 2]), values)
    mixed[0].grad = sparse([2, 0, 2], values, (4, 3))  # a row that stands twice, as after two parts of a batch
    expected = nn.utils.clip_grad_norm_(dense, 1.5)
    assert clip_gradients(mixed, 1.5).item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(mixed[0].grad.to_dense(), dense[0].grad)
    assert torch.equal(mixed[1].grad, dense[1].grad)
    before = mixed[1].grad.clone()
    assert clip_gradients(mixed, float("inf")).item() == pytest.approx(1.5, rel=1e-5)
    assert torch.equal(mixed[1].grad, before)


def test_a_gradient_that_is_not_finite_shows_in_the_norm():
    weight = nn.Parameter(torch.zeros(4, 3))
    weight.grad = sparse([1], torch.tensor([[1.0, math.nan, 0.0]]), (4, 3))
    assert not torch.isfinite(clip_gradients([weight], 5.0))


def test_biases_and_norms_need_not_decay_and_frozen_weights_are_left_out():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert [len(group["params"]) for group in weight_groups(network, True)] == [6]
    decaying, others = weight_groups(network, False)
    assert [weight.shape for weight in decaying["params"]] == [(4, 3), (2, 4)]
    assert [weight.shape for weight in others["params"]] == [(4,), (4,), (4,), (2,)]
    optimizer = build_optimizer("adamw", [decaying, others], 0.1, 0.01, 0.9)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    network[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in weight_groups(network, False)) == 4


@pytest.mark.parametrize("size, parts", [(12, 3), (10, 4), (2, 5)])
def test_gradients_of_parts_add_up_to_those_of_the_batch(size, parts):
    torch.manual_seed(0)
    network, x, targets = nn.Linear(3, 4).double(), torch.randn(size, 3).double(), torch.randint(4, (size,))
    nn.functional.cross_entropy(network(x), targets).backward()
    expected = network.weight.grad.clone()
    network.zero_grad()
    shares = []
    for part, wanted, share in parts_of_batch(x, targets, parts):
        (nn.functional.cross_entropy(network(part), wanted) * share).backward()
        shares.append(share)
    assert sum(shares) == pytest.approx(1)
    assert len(shares) == min(size, parts)
    torch.testing.assert_close(network.weight.grad, expected)


# ---- several processes


def _one_of_two(rank, folder):
    """Half of a batch in a process of its own; both end with the weights of one process that saw all."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    weight = half_trained(rank)
    torch.save(weight, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def half_trained(rank):
    """The head after three steps with the half `rank` of each batch of 8; the whole batch for None."""
    loss = build_loss("aam", 4, 30, {"sampled_classes": 10})
    with torch.no_grad():
        loss.weight.copy_(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    optimizer = build_optimizer("sgd", loss.parameters(), 0.1, 0.0, 0.9)  # Adam would not see the size of gradients
    for step in range(3):
        chance = torch.Generator().manual_seed(step)
        x, targets = torch.randn(8, 4, generator=chance), torch.randint(30, (8,), generator=chance)
        if rank is not None:
            x, targets = x[4 * rank : 4 * rank + 4], targets[4 * rank : 4 * rank + 4]
        optimizer.zero_grad()
        loss(x, targets, Stage(step=step))[0].backward()
        if rank is not None:
            average_rows(loss.parameters())
        take_step(optimizer)
    return loss.weight.detach()


def test_two_processes_update_the_same_rows_as_one(tmp_path):
    torch.multiprocessing.start_processes(_one_of_two, (str(tmp_path),), nprocs=2, start_method="fork")  # without importing torch again
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, half_trained(None), rtol=1e-4, atol=1e-5)


# ---- weights


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2))


def test_frozen_parts_stay_as_they_are_with_their_statistics():
    network = small_network().train()
    freeze(network, ["0"])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = build_optimizer("sgd", weight_groups(network, True), 0.1, 0.1, 0.9)
    network(torch.randn(8, 3)).sum().backward()
    take_step(optimizer)
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["1.weight", "1.bias"]


@pytest.mark.parametrize("name", ["2", "", "0.1.weight"])
def test_a_part_the_network_does_not_have_is_refused(name):
    assert failure(freeze, small_network(), [name]) == f"--freeze: the network has no part '{name}'; it has 0, 0.0, 0.1, 1"


def test_a_running_average_follows_the_weights_and_its_statistics_and_forgets_the_first_ones_soon():
    network = small_network()
    average = RunningAverage(network, 0.9)
    expected = network[1].weight.detach().clone()
    for step in range(120):
        with torch.no_grad():
            network[1].weight.fill_(float(step))
            network[0][1].running_mean.fill_(10.0 * step)
            network[0][1].num_batches_tracked.fill_(step)
        average.follow(network, step, torch.tensor(step % 5 != 4))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = expected if step % 5 == 4 else decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.network[1].weight, expected)
    torch.testing.assert_close(average.network[0][1].running_mean, 10 * expected[0, 0].expand(4))
    assert average.network[0][1].num_batches_tracked == 119
    assert not any(weight.requires_grad for weight in average.network.parameters())


def test_running_statistics_are_put_back_after_a_bad_step_and_stay_after_a_good_one():
    network = small_network().train()
    buffers = Buffers(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    buffers.keep()
    network(torch.full((8, 3), float("nan")))
    assert not torch.isfinite(network[0][1].running_mean).any()
    buffers.restore_unless(torch.tensor(False))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    buffers.keep()
    network(torch.randn(8, 3))
    buffers.restore_unless(torch.tensor(True))
    assert not torch.equal(network[0][1].running_mean, before["0.1.running_mean"])
    assert network[0][1].num_batches_tracked == 1


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_bad_step_leaves_no_trace_in_weights_and_optimiser(name):
    def trained(bad):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        optimizer = build_optimizer(name, layer.parameters(), 0.1, 0.01, 0.9)
        for step in range(6):
            if step in bad:
                for weight in layer.parameters():
                    weight.grad = torch.full_like(weight, math.nan)
                take_step(optimizer, torch.tensor(False))
            torch.manual_seed(step)
            for weight in layer.parameters():
                weight.grad = torch.randn_like(weight)
            take_step(optimizer, torch.tensor(True))
        return [*layer.parameters(), *optimizer.state_dict()["state"][0].values()]

    for one, other in zip(trained([]), trained([0, 3]), strict=True):
        assert torch.equal(one, other)


def test_the_average_of_epochs_is_their_mean(tmp_path):
    for number in range(1, 4):
        tensors = {"model.w": torch.tensor([number, 1e-3 * number]), "model.half": torch.full((2,), float(number)).bfloat16(), "model.n": torch.tensor(number)}
        save_tensors(tmp_path / f"epoch-{number:03d}.safetensors", tensors)
    found = average_epochs(sorted(tmp_path.glob("epoch-*")))
    torch.testing.assert_close(found["model.w"], torch.tensor([2.0, 2e-3]))
    assert found["model.half"].dtype == torch.bfloat16
    assert found["model.half"].tolist() == [2, 2]
    assert found["model.n"].item() == 3


def test_a_damaged_epoch_is_named(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"model.w": torch.zeros(2)})
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    message = failure(average_epochs, [tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert message.startswith(f"{tmp_path}/b.safetensors: damaged (")
    assert message.endswith("); leave this epoch out of the average")


def test_epochs_of_two_networks_are_not_averaged(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"model.w": torch.zeros(2)})
    for tensors in ({"model.w": torch.zeros(3)}, {"model.v": torch.zeros(2)}, {}):
        save_tensors(tmp_path / "b.safetensors", tensors)
        message = failure(average_epochs, [tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
        assert message == f"{tmp_path}/b.safetensors: the weights of another network than {tmp_path}/a.safetensors; average epochs of one experiment"
