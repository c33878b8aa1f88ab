"""Run by test_parallel.py as one process or by torchrun as several: updates and a training with batch normalisation in evaluation mode, no dropout.

parallel_steps.py FOLDER: data in FOLDER/train and FOLDER/valid; writes FOLDER/world-N/: gradients and weights of each case, an experiment.
"""

import os
import shlex
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
OPTIONS = (
    "--min-frames 20 --max-frames 30 --batch-size 12 --num-threads 1 --optimizer sgd --lr 0.1 --warmup-steps 0 --clip-grad 0.5 --device cpu --precision fp32"
)
CASES = {
    "plain": "",
    "accumulate": "--accumulate 2",
    "uneven parts": "--accumulate 3 --batch-size 24",
    "chunks": "--sampler speaker --utts-per-spk 1 --chunks-per-utt 2 --spk-per-batch 6",
    "average": "--ema 0.9",
    "sampled": "--loss-args sampled_classes=3 --accumulate 2",
    "sampled adam": "--loss-args sampled_classes=3 --optimizer adamw --lr 0.001",
    "adacos": "--loss aam --loss-args adacos=dynamic",
    "adacos sampled": "--loss aam --loss-args 'adacos=dynamic sampled_classes=4'",
    "softmax": "--loss softmax",
    "numbers": "--targets utt2age --loss regression",
    "concordance": "--targets utt2age --loss regression --loss-args kind=ccc --accumulate 2",
    "weighted": "--targets utt2label --loss softmax --loss-args class_weights=inverse",
    "ordered": "--targets utt2degree --loss cumulative --loss-args class_weights=complement",
    "both": "--targets utt2label,utt2age --loss joint --loss-args 'classes.class_weights=inverse numbers.kind=ccc'",
    "pairs": "--loss contrastive --loss-args metric=euclidean --sampler speaker --utts-per-spk 2",
}


def assembled(words, folder, processes):
    import importlib.util

    import torch

    from pytorch.data.data_dir import DataDir
    from pytorch.losses import parse_loss_args
    from pytorch.models import parse_model_args
    from pytorch.training.assemble import assemble, update_of

    spec = importlib.util.spec_from_file_location("train_step", ROOT / "steps/train.py")
    step = importlib.util.module_from_spec(spec)
    sys.argv = ["train.py", "--model-args", "frame_dim=8 stats_dim=8 embed_dim=8", *OPTIONS.split(), *words, str(folder / "train"), "exp"]
    spec.loader.exec_module(step)
    args = step.parse_args()
    data, valid = DataDir(args.data), DataDir(folder / "valid") if "--epochs" in words else None
    training = assemble(args, parse_model_args(args.model_args), parse_loss_args(args.loss_args), data, valid, None, torch.device("cpu"), processes)
    training.network.train = types.MethodType(lambda self, mode=True: self, training.network)  # it stays in evaluation mode, and so do its copies
    training.network.eval()
    return args, training, update_of(training, args, torch.device("cpu"), processes)


def main(folder):
    import torch

    from pytorch.experiment import save_tensors
    from pytorch.losses.base import Stage
    from pytorch.training.loop import train
    from pytorch.training.parallel import Processes

    torch.set_num_threads(1)
    processes = Processes()
    processes.join(torch.device("cpu"), {"options": {}, "inputs": {}})
    out = folder / f"world-{processes.world}"
    for name, words in CASES.items():
        args, training, update = assembled(shlex.split(words), folder, processes)
        sampler, kept = training.batches.sampler, {}
        examples = sampler.batch_size // sampler.chunks
        for step in range(4):
            x, targets, _ = training.batches[1, step]
            stage = Stage(0.5, step, args.seed)
            if step == 0:
                update.backward(x, targets, examples, stage)
                for weight, values in training.network.named_parameters():
                    gradient = values.grad.to_dense() if values.grad.is_sparse else values.grad
                    kept[f"gradient.{weight}"] = gradient.clone()
                    if values.grad.is_sparse:  # DDP leaves it to the step
                        processes.world > 1 and torch.distributed.all_reduce(kept[f"gradient.{weight}"])
                        kept[f"gradient.{weight}"] /= processes.world
            update(x, targets, examples, args.lr, stage)
        kept |= {f"weight.{weight}": values for weight, values in training.network.state_dict().items()}
        if update.average:
            kept |= {f"average.{weight}": values for weight, values in update.average.network.state_dict().items()}
        kept["totals"] = processes.sum(update.totals)
        if processes.first:
            save_tensors(out / f"{name}.safetensors", {key: value.detach().clone().contiguous() for key, value in kept.items()})
    args, training, update = assembled("--epochs 2 --steps-per-epoch 3 --save-minutes 0.0001".split(), folder, processes)
    train(out / "exp", update, training.batches, training.validation, args)
    processes.leave()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
