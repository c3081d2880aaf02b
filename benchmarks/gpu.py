"""On one GPU: is it the same as on the CPU, and how fast? `python benchmarks/gpu.py [SIZE ...]`, by default 17m 68m 150m.

First the loss and the gradients of a small model, attention over packed documents and compiled, against the plain model
on the CPU in the same number format; then what `utilization.py` measures. Exits with 1 where a check fails. It needs no data and no
network. The checks and each size write a JSON file of their own, so that an error or a clock takes only what was not measured yet.
"""

import torch
import utilization
from compare import Run
from utilization import SIZES, Random, Size

from textdae.core.draw import Draw
from textdae.text import fast
from textdae.text.fast import packed_attention
from textdae.text.model import TextDenoiser
from textdae.text.noises.masking import TokenNoise
from textdae.text.tokens.vocabulary import Vocabulary

SMALL = Size(4, 128, 2, 256, 1000, 256, 8, 16, 2, 1)


def gradients(device: str, dtype: torch.dtype | None, compile: bool) -> dict[str, torch.Tensor]:
    """Return the loss, and the gradient of every weight, of the same corrupted batch."""
    denoiser = TextDenoiser(utilization.model(SMALL)).to(device).train()
    if device != "cpu":
        denoiser.optimize_for(torch.device(device), compile)
    noise = TokenNoise(rate=0.3).build(Vocabulary(SMALL.vocabulary, 4, (0, 1, 2, 3, 4)))
    examples = Random(SMALL, SMALL.batch)
    indices = torch.arange(SMALL.batch)
    corrupted = noise(examples.batch(indices), Draw(0, torch.zeros_like(indices), indices))
    with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
        output = denoiser(corrupted.to(torch.device(device)))
    loss = output.loss_sum / output.count
    loss.backward()
    found = {name: p.grad.float().cpu() for name, p in denoiser.named_parameters() if p.grad is not None}
    return {"loss": loss.detach().float().cpu(), **found}


def check(run: Run) -> bool:
    """Return whether every form of it is the plain one on the CPU, to rounding."""
    # bf16 is compared with bf16: of fp32 it differs by .04 here, hardly less than attention over wrong windows does (.07).
    plain = {dtype: gradients("cpu", dtype, False) for dtype in (None, torch.bfloat16)}
    good = True
    for dtype, compile in ((None, False), (torch.bfloat16, False), (torch.bfloat16, True)):
        found = difference(plain[dtype], gradients("cuda", dtype, compile))
        limit = 0.02 if dtype else 1e-3
        good &= found < limit
        title = f"{'bf16' if dtype else 'fp32'}{', compiled' if compile else ''}"
        note = f"largest relative difference of the loss or a gradient; right up to {limit:.2e}"
        run.add(f"GPU against CPU: {title}", found, "relative", note=note)
        print(
            f"GPU, {title}: differs by {found:.2e} (at most {limit:.2e}): {'right' if found < limit else 'WRONG'}"
        )
    return good


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest, over the loss and the gradients, of the differences relative to the norm."""
    return max(float((one[name] - other[name]).norm() / one[name].norm().clamp(min=1e-6)) for name in one)


def main() -> bool:
    """Return whether every check was right."""
    with Run(__doc__) as run:
        if not torch.cuda.is_available():
            raise SystemExit("no GPU is at hand; on the CPU: python benchmarks/utilization.py mini small")
        if why := fast.unsupported():
            raise SystemExit(
                f"{why}: textdae would train with the stock layers, which are not to be measured here"
            )
        packed = packed_attention.is_supported(utilization.model(SIZES["17m"]).config, torch.device("cuda"))
        print(
            f"attention over packed documents: {'yes' if packed else 'no, this torch has none with windows; sdpa'}"
        )
        good = check(run)
    for size in run.words or ["17m", "68m", "150m"]:
        with Run(__doc__) as run:
            utilization.main(run, [size])
    return good


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
