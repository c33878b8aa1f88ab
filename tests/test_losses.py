"""pytorch/losses: every loss equals its formula, written out in double precision, and its gradient the differences of its values."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import failure

from pytorch.losses import LOSSES, build_loss, parse_loss_args
from pytorch.losses.base import Stage
from pytorch.losses.margin import annealing
from pytorch.losses.partial import sample_classes
from pytorch.losses.regression import concordance
from pytorch.network import Network

DIM, CLASSES = 8, 6
CLASS_ARGS = [  # name and arguments of losses over classes
    ("softmax", {}),
    ("softmax", {"bias": False, "class_weights": "inverse", "focus": 2.0}),
    ("softmax", {"class_weights": "complement", "smoothing": 0.1}),
    ("am", {"margin": 0.35, "subcentres": 3, "topk": 2, "anneal": True}),
    ("aam", {"margin": 0.3}),
    ("aam", {"margin": 0.2, "subcentres": 2, "topk": 3, "adacos": "fixed"}),
    ("coco", {}),
    ("centre", {"weight": 0.7}),
    ("cumulative", {"class_weights": "inverse"}),
    ("distance", {"power": 1.5, "share": 0.6, "class_weights": "inverse"}),
]
PAIR_ARGS = [
    ("contrastive", {"metric": "cosine"}),
    ("contrastive", {"metric": "angular", "margin": 0.5}),
    ("contrastive", {"metric": "euclidean", "margin": 0.5}),
    ("triplet", {"metric": "cosine", "clamp": "positive", "sampling": "all"}),
    ("triplet", {"metric": "angular", "clamp": "sigmoid", "sampling": "hard"}),
    ("triplet", {"metric": "euclidean", "clamp": "softmargin", "sampling": "negative"}),
    ("triplet", {"metric": "euclidean", "clamp": "positive", "sampling": "easy"}),
]
NUMBER_ARGS = [("regression", {"kind": kind}) for kind in ("mse", "l1", "ccc")]
JOINT_ARGS = [("joint", {"share": 0.3, "classes": "aam", "classes.margin": "0.1", "numbers.kind": "ccc"})]
ALL_ARGS = CLASS_ARGS + PAIR_ARGS + NUMBER_ARGS + JOINT_ARGS


def label(value):
    return value if isinstance(value, str) else " ".join(f"{key}={word}" for key, word in value.items()) or "plain"


def batch(seed=0, size=40, dim=DIM, classes=CLASSES):
    """x, targets and a loss' weights; the first half of x lies near its class, a quarter opposite to it."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, dim, generator=generator)
    targets = torch.randint(classes, (size,), generator=generator)
    side = torch.ones(size, 1)
    side[size // 2 :] = -1
    side[3 * size // 4 :] = 0
    x = 3 * side * weight[targets] + 0.4 * torch.randn(size, dim, generator=generator)
    return x, targets, weight


def targets_for(name, targets):
    numbers = 40 + 7.0 * targets + torch.arange(len(targets)) / len(targets)
    return {"regression": numbers, "joint": torch.stack([targets.float(), numbers], 1)}.get(name, targets)


def built(name, args, seed=0, classes=CLASSES, size=40, dim=DIM):
    """A loss with random weights that knows its targets -> loss, x, targets"""
    torch.manual_seed(seed)
    x, targets, _ = batch(seed, size, dim, classes)
    targets = targets_for(name, targets)
    return build_loss(name, dim, classes, args, targets), x, targets


def unit(vectors):
    return [vector / math.sqrt(sum(v * v for v in vector)) for vector in vectors]


# ---- what all have in common


@pytest.mark.parametrize("name, args", ALL_ARGS, ids=label)
def test_gradients_are_the_differences_of_the_values(name, args):
    loss, x, targets = built(name, args, size=9)
    loss = loss.double()
    inputs = [x.double().requires_grad_(), *loss.parameters()]
    stage = Stage(margin_share=0.8, step=300000)
    assert torch.autograd.gradcheck(lambda *_: loss(inputs[0], targets, stage)[0], inputs, atol=1e-6)


@pytest.mark.parametrize("name, args", ALL_ARGS, ids=label)
def test_single_precision_is_near_double(name, args):
    loss, x, targets = built(name, args)
    x64 = x.double().requires_grad_()
    x.requires_grad_()
    found, figures = loss(x, targets)
    found.backward()
    exact = built(name, args)[0].double()
    expected, expected_figures = exact(x64, targets)
    expected.backward()
    assert found.dtype == torch.float32
    assert expected.dtype == torch.float64
    assert found.item() == pytest.approx(expected.item(), rel=2e-5)
    for weight, exact_weight in zip([x, *loss.parameters()], [x64, *exact.parameters()], strict=True):
        torch.testing.assert_close(weight.grad.double(), exact_weight.grad, rtol=1e-3, atol=1e-5)
    if figures is not None:
        torch.testing.assert_close(figures.double(), expected_figures.double(), rtol=1e-4, atol=1e-4)


def one_step(name, args, own=slice(None), wrap=lambda network: network):
    """Loss and gradients of a linear layer and the loss on top of it in double precision, of the examples `own`; and their figures"""
    loss, x, targets = built(name, args)
    layer = torch.nn.Linear(DIM, DIM).double()
    network = Network(layer, loss.double()).train()
    called = wrap(network)  # kept until the gradients are there
    value, figures = called(x[own].double(), targets[own], Stage(0.7, 3, 1))
    value.backward()
    return {"loss": value.detach(), **{name: weight.grad for name, weight in network.named_parameters()}}, figures


def of_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for number, (name, args) in enumerate(ALL_ARGS):
        found, figures = one_step(name, args, slice(rank, None, 2), torch.nn.parallel.DistributedDataParallel)
        torch.distributed.all_reduce(found["loss"].div_(2))
        torch.save((found, figures), f"{folder}/{number}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    torch.multiprocessing.start_processes(of_two, (str(folder),), nprocs=2, start_method="fork")  # without importing torch again
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
@pytest.mark.parametrize("number", range(len(ALL_ARGS)), ids=lambda number: " ".join(map(label, ALL_ARGS[number])))
def test_two_processes_with_half_a_batch_each_learn_what_one_learns_of_the_whole(number, halves):
    whole, figures = one_step(*ALL_ARGS[number])
    (first, some), (second, others) = (torch.load(halves / f"{number}.{rank}", weights_only=True) for rank in (0, 1))
    for name, value in whole.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-12 * float(value.abs().max()), msg=name)
        assert torch.equal(first[name], second[name]), name
    assert (figures is None) == (some is None)
    if figures is not None:
        torch.testing.assert_close(torch.stack([some, others], 1).flatten(), figures)


@pytest.mark.parametrize("name, args", ALL_ARGS, ids=label)
def test_losses_are_single_precision_under_autocast(name, args):
    loss, x, targets = built(name, args)
    expected, _ = loss(x, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = loss(x, targets)
        of_half, _ = loss(x.bfloat16(), targets)
        values = loss.predict(x) if loss.measure else None
    assert found.dtype == of_half.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(of_half, loss(x.bfloat16().float(), targets)[0])
    if loss.measure:
        assert torch.equal(values, loss.predict(x))


@pytest.mark.parametrize("name, args", CLASS_ARGS + PAIR_ARGS[:-1], ids=label)  # easy triplets are right from the start
def test_losses_learn_what_can_be_told_apart(name, args):
    torch.manual_seed(0)
    x, targets = torch.eye(4).repeat(5, 1), torch.arange(4).repeat(5)
    loss = build_loss(name, 4, 4, args, targets)
    network = torch.nn.Linear(4, 4)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], 0.05)
    first = loss(network(x), targets)[0].item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(network(x), targets)[0].backward()
        optimizer.step()
    last, right = loss(network(x), targets)
    assert last.item() < (0.5 * first if args.get("clamp") != "softmargin" else first)
    if loss.measure:
        assert right.tolist() == [1.0] * 20
        assert torch.equal(loss.predict(network(x)), targets)


@pytest.mark.parametrize("name, args", CLASS_ARGS, ids=label)
def test_the_figures_are_those_of_the_prediction(name, args):
    loss, x, targets = built(name, args)
    _, right = loss(x, targets)
    assert loss.measure == "accuracy"
    assert torch.equal(right, (loss.predict(x) == targets).float())


@pytest.mark.parametrize("name, args", ALL_ARGS, ids=label)
@pytest.mark.parametrize("kind", ["zeros", "one vector", "opposite vectors"])
def test_gradients_are_finite_for_degenerate_batches(kind, name, args):
    loss, x, targets = built(name, args)
    x = {"zeros": torch.zeros(40, DIM), "one vector": x[:1].repeat(40, 1), "opposite vectors": x[:1] * torch.tensor([1.0, -1.0]).repeat(20)[:, None]}[kind]
    x.requires_grad_()
    value, _ = loss(x, targets)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(weight.grad).all() for weight in loss.parameters())


# ---- softmax


def naive_cross_entropy(logits, target, smoothing=0.0):
    total = math.log(sum(math.exp(logit) for logit in logits))
    wanted = [smoothing / len(logits) + (1 - smoothing) * (place == target) for place in range(len(logits))]
    return sum(share * (total - logit) for share, logit in zip(wanted, logits, strict=True))


def logits_of(loss, x):
    found = x.double() @ loss.linear.weight.detach().double().T
    return (found if loss.linear.bias is None else found + loss.linear.bias.detach().double()).tolist()


def test_softmax_equals_the_cross_entropy_of_a_linear_layer():
    loss, x, targets = built("softmax", {})
    expected = [naive_cross_entropy(logits, target) for logits, target in zip(logits_of(loss, x), targets.tolist(), strict=True)]
    assert loss(x, targets)[0].item() == pytest.approx(np.mean(expected), rel=1e-6)
    torch.testing.assert_close(loss.scores(x).double(), torch.tensor(logits_of(loss, x), dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_kaldis_head_has_as_many_parameters_as_kaldis():
    assert sum(parameter.numel() for parameter in build_loss("softmax", 512, 7323, {}).parameters()) == 513 * 7323
    assert sum(parameter.numel() for parameter in build_loss("softmax", 512, 7323, {"bias": "false"}).parameters()) == 512 * 7323


def weights_by_hand(kind, targets, classes):
    counts = [list(targets).count(label) for label in range(classes)]
    there = sum(count > 0 for count in counts)
    if kind == "none":
        return [1.0] * classes
    return [0 if not count else 1 - count / len(targets) if kind == "complement" else len(targets) / (there * count) for count in counts]


@pytest.mark.parametrize("kind", ["none", "complement", "inverse"])
@pytest.mark.parametrize("focus, smoothing", [(0.0, 0.0), (2.0, 0.0), (0.5, 0.0), (0.0, 0.2)])
def test_weighted_focal_and_smoothed_cross_entropy_equal_their_formulas(kind, focus, smoothing):
    loss, x, targets = built("softmax", {"class_weights": kind, "focus": focus, "smoothing": smoothing})
    weights = weights_by_hand(kind, targets.tolist(), CLASSES)
    total = norm = 0.0
    for logits, target in zip(logits_of(loss, x), targets.tolist(), strict=True):
        if smoothing:  # torch weighs each class' part of the smoothed target with that class' weight
            log_sum = math.log(sum(math.exp(logit) for logit in logits))
            shares = [smoothing / CLASSES + (1 - smoothing) * (place == target) for place in range(CLASSES)]
            total += sum(share * weight * (log_sum - logit) for share, weight, logit in zip(shares, weights, logits, strict=True))
        else:
            minus_log_p = naive_cross_entropy(logits, target)
            total += weights[target] * (1 - math.exp(-minus_log_p)) ** focus * minus_log_p
        norm += weights[target]
    assert loss(x, targets)[0].item() == pytest.approx(total / norm, rel=1e-5)


def test_class_weights_go_with_the_class_not_with_its_first_appearance():
    for targets in ([0, 1, 1, 2, 2, 2, 2, 2], [2, 2, 1, 2, 0, 2, 1, 2]):
        complement = build_loss("softmax", 4, 4, {"class_weights": "complement"}, targets).weights
        inverse = build_loss("softmax", 4, 4, {"class_weights": "inverse"}, np.array(targets)).weights
        torch.testing.assert_close(complement, torch.tensor([7 / 8, 6 / 8, 3 / 8, 0]))
        torch.testing.assert_close(inverse, torch.tensor([8 / 3, 8 / 6, 8 / 15, 0]))


@pytest.mark.parametrize("focus", [0.5, 1.0, 2.0])
def test_focal_gradients_are_finite_where_the_class_is_certain(focus):
    loss, x, targets = built("softmax", {"focus": focus})
    with torch.no_grad():
        loss.linear.weight.zero_()
        loss.linear.bias.copy_(torch.tensor([1000.0] + [0.0] * (CLASSES - 1)))
    value, _ = loss(x, torch.zeros_like(targets))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(loss.linear.weight.grad).all()


# ---- margins


def naive_margin(loss, x, targets, move, scale, subcentres=1, topk=0, topk_margin=0.0):
    """Example by example in double precision; move(angle, margin or minus topk_margin) -> cosine"""
    total = 0.0
    centres = loss.weight.detach().double().view(-1, subcentres, x.shape[1]).tolist()
    for row, target in zip(unit(x.double().numpy()), targets.tolist(), strict=True):
        angles = [min(math.acos(float(np.clip(np.dot(row, centre), -1, 1))) for centre in unit(np.array(of_class))) for of_class in centres]
        logits = [math.cos(angle) for angle in angles]
        rivals = sorted((place for place in range(len(angles)) if place != target), key=lambda place: angles[place])[:topk]
        for rival in rivals:
            logits[rival] = move(angles[rival], -topk_margin)
        logits[target] = move(angles[target], None)
        total += naive_cross_entropy([scale * logit for logit in logits], target)
    return total / len(x)


def angular(margin):
    """Deng et al., eq. 3; beyond pi - margin the line that follows on"""

    def move(angle, other):
        shift = margin if other is None else other
        return math.cos(angle + shift) if angle + shift <= math.pi else math.cos(angle) - shift * math.sin(shift)

    return move


def additive(margin, step=None):
    def move(angle, other):
        if other is not None:
            return math.cos(angle) - other
        a = 0 if step is None else 1000 / (1 + step / 10000) ** 2
        return ((math.cos(angle) - margin) + a * math.cos(angle)) / (1 + a)

    return move


@pytest.mark.parametrize("scale, margin", [(30.0, 0.2), (32.0, 0.5), (64.0, 0.35), (1.0, 0.0), (10.0, 1.2)])
@pytest.mark.parametrize("subcentres, topk", [(1, 0), (3, 0), (1, 2), (2, 9)])
def test_aam_equals_the_formula(scale, margin, subcentres, topk):
    args = {"scale": scale, "margin": margin, "subcentres": subcentres, "topk": topk, "topk_margin": 0.06}
    loss, x, targets = built("aam", args)
    with torch.no_grad():
        x[0] = -loss.weight[targets[0], :DIM]  # where angle + margin is beyond pi
    expected = naive_margin(loss, x, targets, angular(margin), scale, subcentres, topk, 0.06)
    assert loss(x, targets)[0].item() == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("subcentres, topk", [(1, 0), (3, 0), (1, 2)])
def test_am_equals_the_formula(margin, subcentres, topk):
    loss, x, targets = built("am", {"margin": margin, "subcentres": subcentres, "topk": topk, "topk_margin": 0.1})
    expected = naive_margin(loss, x, targets, additive(margin), 30.0, subcentres, topk, 0.1)
    assert loss(x, targets)[0].item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("step, share", [(0, 0.001), (100000, 0.11), (300000, 0.49), (1000000, 0.91)])
def test_the_annealed_margin_grows_with_the_steps(step, share):
    assert 1 / (1 + annealing(step)) == pytest.approx(share, abs=0.005 if step else 1e-5)
    loss, x, targets = built("am", {"margin": 0.4, "anneal": True})
    expected = naive_margin(loss, x, targets, additive(0.4, step), 30.0)
    assert loss(x, targets, Stage(step=step))[0].item() == pytest.approx(expected, rel=2e-5)


def test_coco_is_the_scaled_cosine_softmax():
    loss, x, targets = built("coco", {})
    assert loss(x, targets)[0].item() == pytest.approx(naive_margin(loss, x, targets, additive(0.0), 6.25), rel=1e-5)


def test_without_margin_all_are_the_scaled_cosine_softmax():
    for name in ("am", "aam"):
        loss, x, targets = built(name, {"margin": 0.3, "topk": 2})
        expected = F.cross_entropy(30 * F.cosine_similarity(x[:, None], loss.weight[None], dim=2), targets)
        assert loss(x, targets, Stage(margin_share=0.0))[0].item() == pytest.approx(expected.item(), rel=1e-5)
        torch.testing.assert_close(loss.scores(x), F.cosine_similarity(x[:, None], loss.weight[None], dim=2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["am", "aam"])
def test_the_margin_share_scales_both_margins(name):
    whole, x, targets = built(name, {"margin": 0.4, "topk": 2, "topk_margin": 0.08})
    quarter, _, _ = built(name, {"margin": 0.1, "topk": 2, "topk_margin": 0.02})
    assert whole(x, targets, Stage(margin_share=0.25))[0].item() == pytest.approx(quarter(x, targets)[0].item(), rel=1e-6)


def test_degrees_are_radians():
    in_degrees, x, targets = built("aam", {"margin": "28.6", "margin_unit": "deg", "topk": 2, "topk_margin": "5"})
    in_radians, _, _ = built("aam", {"margin": math.radians(28.6), "topk": 2, "topk_margin": math.radians(5)})
    assert torch.equal(in_degrees(x, targets)[0], in_radians(x, targets)[0])


@pytest.mark.parametrize("margin", [0.1, 0.2, 0.5, 1.0])
def test_the_logit_of_the_target_falls_with_its_angle_all_the_way(margin):
    angles = torch.linspace(0.001, math.pi - 0.001, 400, dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin(), torch.zeros(400)], dim=1)
    loss = build_loss("aam", 3, 2, {"scale": 1.0, "margin": margin}).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]]))  # the other class is at a right angle to all of x
    losses = torch.stack([loss(row[None], torch.tensor([0]))[0] for row in x]).detach()
    logits = -torch.log(torch.expm1(losses))
    assert (logits.diff() < 0).all()
    torch.testing.assert_close(logits[angles + margin < math.pi], torch.cos(angles + margin)[angles + margin < math.pi], rtol=0, atol=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name, margin", [("aam", 0.0), ("aam", 0.2), ("aam", 1.0), ("am", 0.4)])
def test_gradients_are_finite_where_the_cosine_is_one_or_minus_one(sign, name, margin):
    loss, _, targets = built(name, {"margin": margin, "topk": 2})
    x = (sign * loss.weight.detach()[targets]).requires_grad_()
    found, _ = loss(x, targets)
    assert loss.scores(x)[torch.arange(len(x)), targets].abs().min() > 0.999999
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(loss.weight.grad).all()


def test_only_the_nearest_centre_of_a_class_learns_from_an_example():
    loss = build_loss("aam", 2, 2, {"subcentres": 2})
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.1, -1.0, 0.2], [0.3, 1.0, 0.2, -1.0]]))
    loss(torch.tensor([[1.0, 0.5]]), torch.tensor([0]))[0].backward()
    assert [pair.any().item() for pair in loss.weight.grad.view(4, 2)] == [True, False, True, False]


def test_the_fixed_adacos_scale_is_that_of_pyannote_audio():
    assert build_loss("aam", 2, 5994, {"adacos": "fixed"}).scale == pytest.approx(12.3013, abs=5e-5)
    assert build_loss("am", 2, 5994, {"adacos": "dynamic"}).scale.item() == pytest.approx(12.3013, abs=5e-5)
    fixed, x, targets = built("aam", {"adacos": "fixed"})
    assert fixed(x, targets)[0].item() == built("aam", {"scale": math.sqrt(2) * math.log(CLASSES - 1)})[0](x, targets)[0].item()


def test_the_dynamic_adacos_scale_follows_the_angles():
    loss, x, targets = built("aam", {"adacos": "dynamic", "margin": 0.0}, size=41)
    scale = math.sqrt(2) * math.log(CLASSES - 1)
    for part in (slice(0, 41), slice(0, 15)):  # at first the angles are wide, then narrow
        cosines = F.cosine_similarity(x[part, None].double(), loss.weight[None].detach().double(), dim=2).numpy()
        own = [row[target] for row, target in zip(cosines, targets[part].tolist(), strict=True)]
        sums = [sum(math.exp(scale * c) for place, c in enumerate(row) if place != target) for row, target in zip(cosines, targets[part].tolist(), strict=True)]
        scale = math.log(np.mean(sums)) / math.cos(min(math.pi / 4, np.median(np.arccos(own))))
        value, _ = loss(x[part], targets[part])
        assert loss.scale.item() == pytest.approx(scale, rel=1e-5)
        assert value.item() == pytest.approx(naive_margin(loss, x[part], targets[part], additive(0.0), scale), rel=1e-5)
    assert "scale" in loss.state_dict()
    loss.eval()(x, targets)
    assert loss.scale.item() == pytest.approx(scale, rel=1e-5)


# ---- a sample of the classes


def test_a_sample_holds_the_targets_and_is_that_of_seed_and_step_alone():
    targets = torch.tensor([7, 999, 7, 0, 512])
    classes, places = sample_classes(targets, 1000, 50, Stage(step=3, seed=1))
    assert len(classes.unique()) == len(classes) == 50
    assert torch.equal(classes, classes.sort().values)
    assert torch.equal(classes[places], targets)
    torch.manual_seed(17)
    assert torch.equal(sample_classes(targets, 1000, 50, Stage(0.5, 3, 1))[0], classes)
    for other in (Stage(step=4, seed=1), Stage(step=3, seed=2)):
        assert len(set(sample_classes(targets, 1000, 50, other)[0].tolist()) & set(classes.tolist())) < 15


def test_every_class_is_sampled_about_equally_often():
    counts = torch.zeros(100)
    for step in range(400):
        counts[sample_classes(torch.tensor([99]), 100, 11, Stage(step=step))[0]] += 1
    assert counts[99] == 400
    assert counts[:99].min() > 18
    assert counts[:99].max() < 68


@pytest.mark.parametrize("size, expected", [(3, 5), (200, 20)])
def test_a_sample_is_at_least_the_batch_and_at_most_all(size, expected):
    classes, places = sample_classes(torch.arange(5), 20, size, Stage())
    assert len(classes) == expected
    assert classes[places].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name, args", [("aam", {"topk": 3}), ("am", {"subcentres": 2}), ("coco", {})], ids=label)
def test_a_sampled_loss_is_that_over_the_sampled_classes_and_so_is_its_gradient(name, args):
    loss, x, targets = built(name, {**args, "sampled_classes": 60}, classes=200)
    stage = Stage(step=5)
    classes, places = sample_classes(targets, 200, 60, stage)
    small = build_loss(name, DIM, 60, args)
    with torch.no_grad():
        small.weight.copy_(loss.weight[classes])
    value, right = loss(x, targets, stage)
    expected, expected_right = small(x, places, stage)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(right, expected_right)
    gradient = loss.weight.grad.coalesce()
    assert torch.equal(gradient.indices()[0], classes)
    torch.testing.assert_close(gradient.values(), small.weight.grad)


def test_out_of_training_all_classes_count():
    loss, x, targets = built("aam", {"sampled_classes": 50}, classes=200)
    whole, _, _ = built("aam", {}, classes=200)
    assert torch.equal(loss.eval()(x, targets)[0], whole(x, targets)[0])
    assert loss.scores(x).shape == (40, 200)


def test_a_sample_of_all_classes_or_more_is_none():
    for size in (6, 100):
        loss, x, targets = built("aam", {"sampled_classes": size})
        loss(x, targets)[0].backward()
        assert not loss.weight.grad.is_sparse


# ---- distances


def distance_by_hand(a, b, metric):
    a, b = unit([a, b])
    cosine = float(np.clip(np.dot(a, b), -1, 1))
    return {"cosine": 1 - cosine, "angular": math.acos(cosine), "euclidean": float(np.linalg.norm(a - b))}[metric]


LARGEST = {"cosine": 2, "angular": math.pi, "euclidean": 2}


def test_centre_loss_adds_the_distance_to_ones_centre():
    loss, x, targets = built("centre", {"weight": 0.7})
    cross_entropy = np.mean([naive_cross_entropy(logits, target) for logits, target in zip(logits_of(loss, x), targets.tolist(), strict=True)])
    centres = loss.centres.detach().double().numpy()
    away = [distance_by_hand(row, centres[target], "cosine") for row, target in zip(x.double().numpy(), targets.tolist(), strict=True)]
    assert loss(x, targets)[0].item() == pytest.approx(cross_entropy + 0.7 * np.mean(np.square(away)) / 2, rel=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "angular", "euclidean"])
def test_contrastive_loss_equals_its_formula(metric):
    loss, x, targets = built("contrastive", {"metric": metric, "margin": 0.4}, size=12)
    losses = []
    for i in range(12):
        for j in range(i):
            d = distance_by_hand(x[i].double().numpy(), x[j].double().numpy(), metric)
            losses.append(d**2 / 2 if targets[i] == targets[j] else max(0, 0.4 * LARGEST[metric] - d) ** 2 / 2)
    value, figures = loss(x, targets)
    assert value.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert figures is None
    assert loss.measure is None
    assert loss.needs_pairs


def triplets_by_hand(d, targets, sampling):
    """All (anchor, positive, negative) of a sampling, by loops"""
    found = []
    for a in range(len(targets)):
        positives = [p for p in range(len(targets)) if p != a and targets[p] == targets[a]]
        negatives = [n for n in range(len(targets)) if targets[n] != targets[a]]
        if not positives or not negatives:
            continue
        if sampling == "hard":
            positives = [max(positives, key=lambda p: d[a][p])]
        if sampling in ("hard", "negative"):
            negatives = [min(negatives, key=lambda n: d[a][n])]
        found += [(a, p, n) for p in positives for n in negatives if sampling != "easy" or d[a][p] <= d[a][n]]
    return found


@pytest.mark.parametrize("metric", ["cosine", "angular", "euclidean"])
@pytest.mark.parametrize("clamp", ["positive", "sigmoid", "softmargin"])
@pytest.mark.parametrize("sampling", ["all", "hard", "negative", "easy"])
def test_triplet_loss_equals_its_formula(metric, clamp, sampling):
    loss, x, targets = built("triplet", {"metric": metric, "clamp": clamp, "sampling": sampling, "margin": 0.1}, size=13)
    targets[0] = CLASSES  # the only one of its class: no anchor, but a negative
    d = [[distance_by_hand(a, b, metric) for b in x.double().numpy()] for a in x.double().numpy()]
    margin = 0.1 * LARGEST[metric]
    clamps = {
        "positive": lambda delta: max(0.0, delta + margin),
        "sigmoid": lambda delta: 1 / (1 + math.exp(-10 * (delta + margin))),
        "softmargin": lambda delta: math.log(1 + math.exp(delta)),
    }
    expected = [clamps[clamp](d[a][p] - d[a][n]) for a, p, n in triplets_by_hand(d, targets.tolist(), sampling)]
    assert len(expected) > 5
    assert loss(x, targets)[0].item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("sampling", ["all", "hard", "negative", "easy"])
@pytest.mark.parametrize("targets", [torch.arange(8), torch.zeros(8, dtype=torch.long)], ids=["each class once", "one class"])
def test_without_a_triplet_there_is_nothing_to_learn(sampling, targets):
    x = torch.randn(8, DIM, requires_grad=True)
    value, _ = build_loss("triplet", DIM, 8, {"sampling": sampling})(x, targets)
    value.backward()
    assert value.item() == 0
    assert not x.grad.any()


# ---- classes in order, numbers


@pytest.mark.parametrize("kind", ["none", "complement", "inverse"])
def test_cumulative_loss_equals_its_formula(kind):
    loss, x, targets = built("cumulative", {"class_weights": kind})
    weights = weights_by_hand(kind, targets.tolist(), CLASSES)
    total = 0.0
    for logits, target in zip(logits_of(loss, x), targets.tolist(), strict=True):
        total += weights[target] * sum((1 / (1 + math.exp(-logit)) - (place <= target)) ** 2 for place, logit in enumerate(logits))
    assert loss(x, targets)[0].item() == pytest.approx(total / sum(weights[target] for target in targets.tolist()), rel=1e-5)


@pytest.mark.parametrize("logits, expected", [([9, 9, -9, 9], 1), ([-9, 9, 9, 9], 0), ([9, 9, 9, 9], 3), ([9, -9, -9, -9], 0)])
def test_the_cumulative_class_is_the_last_before_the_first_no(logits, expected):
    loss = build_loss("cumulative", 1, 4, {})
    with torch.no_grad():
        loss.linear.weight.copy_(torch.tensor(logits)[:, None])
        loss.linear.bias.zero_()
    assert loss.predict(torch.ones(1, 1)).tolist() == [expected]


@pytest.mark.parametrize("power, share", [(1.0, 1.0), (2.0, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_distance_loss_equals_its_formula(power, share):
    loss, x, targets = built("distance", {"power": power, "share": share, "class_weights": "inverse"})
    weights = weights_by_hand("inverse", targets.tolist(), CLASSES)
    errors = cross_entropy = 0.0
    for logits, target in zip(logits_of(loss, x), targets.tolist(), strict=True):
        p = np.exp(logits) / np.sum(np.exp(logits))
        errors += sum(((abs(target - place) + 1) ** power * p[place] - (place == target)) ** 2 for place in range(CLASSES)) / len(x)
        cross_entropy += weights[target] * naive_cross_entropy(logits, target) / sum(weights[other] for other in targets.tolist())
    assert loss(x, targets)[0].item() == pytest.approx(share * errors + (1 - share) * cross_entropy, rel=1e-5)


def test_a_far_mistake_costs_more_than_a_near_one():
    for name in ("cumulative", "distance"):
        loss = build_loss(name, 1, CLASSES, {})
        losses = []
        for guessed in range(1, CLASSES):
            sure = torch.arange(CLASSES) <= guessed if name == "cumulative" else torch.arange(CLASSES) == guessed
            with torch.no_grad():
                loss.linear.weight.zero_()
                loss.linear.bias.copy_(torch.where(sure, 6.0, -6.0))
            losses.append(loss(torch.zeros(1, 1), torch.tensor([0]))[0].item())
        assert losses == sorted(losses)
        assert losses[0] < 0.7 * losses[1]


@pytest.mark.parametrize("kind", ["mse", "l1", "ccc"])
def test_regression_equals_its_formula_in_deviations(kind):
    loss, x, targets = built("regression", {"kind": kind})
    numbers = targets.double().numpy()
    wanted = (numbers - numbers.mean()) / numbers.std()
    found = np.array(logits_of(loss, x))[:, 0]
    covariance = np.cov(found, wanted, bias=True)
    expected = {
        "mse": np.mean((found - wanted) ** 2),
        "l1": np.mean(np.abs(found - wanted)),
        "ccc": 1 - 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (found.mean() - wanted.mean()) ** 2),
    }[kind]
    value, errors = loss(x, targets)
    assert loss.measure == "error"
    assert value.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(loss.predict(x).detach(), numbers.mean() + numbers.std() * found, rtol=1e-5)
    np.testing.assert_allclose(errors, np.abs(numbers.mean() + numbers.std() * found - numbers), rtol=1e-4, atol=1e-4)


def test_concordance_is_one_for_equals_and_knows_shift_and_scale():
    x = torch.randn(50, dtype=torch.float64)
    assert concordance(x, x).item() == pytest.approx(1)
    assert concordance(x, -x + 2 * x.mean()).item() == pytest.approx(-1)
    assert 0 < concordance(x, x + 1).item() < 0.9
    assert 0 < concordance(x, 3 * x).item() < 0.9
    assert concordance(torch.ones(5), torch.ones(5)).item() == 0


def test_regression_learns_ages_from_where_they_are():
    torch.manual_seed(0)
    x = torch.randn(64, DIM)
    ages = 45 + 12 * x[:, 0]
    for kind in ("mse", "l1", "ccc"):
        loss = build_loss("regression", DIM, 0, {"kind": kind}, ages)
        assert loss(x, ages)[1].mean() < 25
        optimizer = torch.optim.Adam(loss.parameters(), 0.05)
        for _ in range(300):
            optimizer.zero_grad()
            loss(x, ages)[0].backward()
            optimizer.step()
        assert loss(x, ages)[1].mean() < 1.5


def test_joint_is_the_weighted_sum_of_its_parts():
    args = {"share": "0.3", "classes": "aam", "classes.margin": "0.1", "numbers.kind": "l1"}
    joint, x, targets = built("joint", args)
    classes, numbers = build_loss("aam", DIM, CLASSES, {"margin": 0.1}), build_loss("regression", DIM, 0, {"kind": "l1"}, targets[:, 1])
    classes.load_state_dict(joint.classes.state_dict())
    numbers.load_state_dict(joint.numbers.state_dict())
    value, right = joint(x, targets)
    of_classes, expected_right = classes(x, targets[:, 0].long())
    assert value.item() == pytest.approx(0.3 * of_classes.item() + 0.7 * numbers(x, targets[:, 1])[0].item(), rel=1e-6)
    assert torch.equal(right, expected_right)
    assert torch.equal(joint.predict(x), classes.predict(x))
    assert torch.equal(joint.numbers.predict(x), numbers.predict(x))


# ---- building


def test_the_registry_is_literal():
    for name, (file, cls) in LOSSES.items():
        assert (Path(__file__).parents[1] / f"pytorch/losses/{file}.py").exists()
        assert build_loss(name, 5, 4, {}).__class__.__name__ == cls


def test_before_the_first_step_a_softmax_loss_knows_nothing():
    torch.manual_seed(0)
    x, targets = torch.randn(500, 64), torch.arange(500)
    for name, args in [("softmax", {}), ("am", {}), ("aam", {"subcentres": 1})]:
        scores = build_loss(name, 64, 1000, args).scores(x)
        assert F.cross_entropy(scores, targets).item() == pytest.approx(math.log(1000), abs=0.3)


AAM = "scale=30.0, margin=0.2, margin_unit=rad, adacos=none, subcentres=1, topk=0, topk_margin=0.06, sampled_classes=0"


@pytest.mark.parametrize(
    "name, args, message",
    [
        ("aam", {"m": "0.2"}, f"aam has no argument 'm'; it has {AAM}"),
        ("aam", {"in_dim": "5"}, f"aam has no argument 'in_dim'; it has {AAM}"),
        ("aam", {"scale": "big"}, f"scale=big: float expected; aam has {AAM}"),
        ("aam", {"scale": "-1"}, "scale=-1.0: a number, 0 or more, expected"),
        ("aam", {"margin": "nan"}, "margin=nan: a number, 0 or more, expected"),
        ("aam", {"scale": "1e7"}, "scale=10000000.0: 0, or a number from 1e-30 to 1000000, expected"),
        ("aam", {"margin": "1e-320"}, "margin=1e-320: 0, or a number from 1e-30 to 1000000, expected"),
        ("aam", {"subcentres": "1" + 20 * "0"}, f"subcentres=1{20 * '0'}: 10000000 at most expected"),
        ("aam", {"margin_unit": "grad"}, "margin_unit=grad: rad or deg expected"),
        ("aam", {"adacos": "yes"}, "adacos=yes: none, fixed or dynamic expected"),
        ("aam", {"subcentres": "0"}, "subcentres=0: 1 or more expected"),
        ("aam", {"topk": "-1"}, "topk=-1: 0 or more expected"),
        ("aam", {"margin": "28.6"}, "margin=28.6 rad: more than a right angle; for degrees say margin_unit=deg"),
        ("aam", {"topk_margin": "100", "margin_unit": "deg"}, "topk_margin=100 deg: more than a right angle"),
        ("softmax", {"bias": "yes"}, "bias=yes: bool expected; softmax has bias=true, class_weights=none, focus=0.0, smoothing=0.0"),
        ("softmax", {"smoothing": "1.1"}, "smoothing=1.1: at most 1 expected"),
        ("softmax", {"smoothing": "0.1", "focus": "2"}, "focus and smoothing exclude each other: a smoothed target has no one probability to focus on"),
        ("distance", {"share": "2"}, "share=2: at most 1 expected"),
        ("joint", {"share": "2"}, "share=2: at most 1 expected"),
        ("joint", {"classes": "triplet"}, "classes=triplet: the name of a loss over classes expected"),
        ("joint", {"classes.focus": "2", "numbers.shape": "1"}, "regression has no argument 'shape'; it has kind=mse"),
        ("joint", {"kind": "mse"}, "joint has no argument 'kind'; it has share=0.5"),
    ],
)
def test_arguments_a_loss_does_not_have_are_refused(name, args, message):
    assert failure(build_loss, name, 30, 10, args) == f"--loss-args: {message}"


def test_adacos_needs_classes():
    expected = "--loss-args: adacos=fixed: 4 classes or more are needed, there are 3: with fewer its scale is below 1"
    assert failure(build_loss, "aam", 30, 3, {"adacos": "fixed"}) == expected


def test_loss_args_are_pairs():
    assert parse_loss_args("scale=30  classes.margin=0.2") == {"scale": "30", "classes.margin": "0.2"}
    assert failure(parse_loss_args, "scale") == "--loss-args: name=value expected, not 'scale'"
    assert failure(parse_loss_args, "scale=1 scale=2") == "--loss-args: scale stands twice"
