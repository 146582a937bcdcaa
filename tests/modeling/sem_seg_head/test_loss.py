"""The hard-pixel loss: worked by hand, against a loop, and its edge cases."""

import math

import pytest
import torch

from effps_solo.modeling.sem_seg_head.loss import hard_pixel_cross_entropy


def _loop(
    logits: torch.Tensor, target: torch.Tensor, top_fraction: float, ignore_value: int
) -> float:
    """Per image: sort the pixels' -log p, average the worst; then average the images."""
    images = []
    for image in range(len(logits)):
        losses = []
        for row in range(target.shape[1]):
            for column in range(target.shape[2]):
                label = int(target[image, row, column])
                values = [float(v) for v in logits[image, :, row, column]]
                if label != ignore_value:
                    losses.append(math.log(sum(math.exp(v) for v in values)) - values[label])
        losses.sort(reverse=True)
        kept = losses[: math.ceil(top_fraction * len(losses))] or [0.0]
        images.append(sum(kept) / len(kept))
    return sum(images) / len(images)


def test_worked_by_hand() -> None:
    # Two classes; the logit of the true class is 0, that of the other one is d: loss log(1 + e^d).
    other = torch.tensor([[0.0, 1.0, 2.0, 3.0], [-1.0, -2.0, -3.0, -4.0]])
    logits = torch.stack([torch.zeros_like(other), other])[None]
    target = torch.zeros(1, 2, 4, dtype=torch.int64)
    # A quarter of 8 pixels: those with d = 3 and d = 2.
    expected = (math.log1p(math.exp(3)) + math.log1p(math.exp(2))) / 2
    assert float(hard_pixel_cross_entropy(logits, target)) == pytest.approx(expected)
    # All pixels.
    expected = sum(math.log1p(math.exp(d)) for d in (0, 1, 2, 3, -1, -2, -3, -4)) / 8
    actual = hard_pixel_cross_entropy(logits, target, top_fraction=1.0)
    assert float(actual) == pytest.approx(expected)


def test_is_the_papers_weight() -> None:
    """The sum of 4 / (W H) -log p over the worst quarter, for one image."""
    torch.manual_seed(0)
    logits, target = torch.randn(1, 5, 8, 12), torch.randint(0, 5, (1, 8, 12))
    pixel = -logits.log_softmax(1).gather(1, target[:, None]).flatten()
    expected = 4 / (8 * 12) * pixel.sort(descending=True).values[: 8 * 12 // 4].sum()
    torch.testing.assert_close(hard_pixel_cross_entropy(logits, target), expected)


@pytest.mark.parametrize("top_fraction", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("ignored", [0.0, 0.3, 0.9])
def test_against_a_loop(top_fraction: float, ignored: float) -> None:
    torch.manual_seed(1)
    logits = 3 * torch.randn(3, 4, 5, 7, dtype=torch.float64)
    target = torch.randint(0, 4, (3, 5, 7))
    target[torch.rand(3, 5, 7) < ignored] = 99
    actual = hard_pixel_cross_entropy(logits, target, top_fraction=top_fraction, ignore_value=99)
    assert float(actual) == pytest.approx(_loop(logits, target, top_fraction, 99))


@pytest.mark.parametrize("num_classes", [4, 19])
def test_memory_formats_agree(num_classes: int) -> None:
    torch.manual_seed(4)
    target = torch.randint(0, num_classes, (2, 6, 9))
    target[0, :2] = 255
    logits = torch.randn(2, num_classes, 6, 9, dtype=torch.float64)
    results = []
    wider = torch.cat([logits, logits], dim=1).contiguous(memory_format=torch.channels_last)
    for leaf in (
        logits.clone(),
        logits.clone(memory_format=torch.channels_last),
        torch.cat([logits, logits], dim=3)[..., :9],
        wider[:, :num_classes],
    ):
        leaf = leaf.detach().requires_grad_()
        loss = hard_pixel_cross_entropy(leaf, target)
        results.append((loss, *torch.autograd.grad(loss, leaf)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_pixels_are_chosen_per_image() -> None:
    """An easy image beside a hard one keeps its own worst quarter."""
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    logits = torch.zeros(2, 2, 4, 4)
    logits[0, 1] = 5.0  # hard everywhere: log(1 + e^5)
    logits[1, 1] = -5.0  # easy everywhere: log(1 + e^-5)
    expected = (math.log1p(math.exp(5)) + math.log1p(math.exp(-5))) / 2
    assert float(hard_pixel_cross_entropy(logits, target)) == pytest.approx(expected)


def test_does_not_depend_on_the_batch_split() -> None:
    torch.manual_seed(2)
    logits, target = torch.randn(6, 4, 8, 8), torch.randint(0, 4, (6, 8, 8))
    together = hard_pixel_cross_entropy(logits, target)
    for size in (1, 2, 3):
        parts = [
            hard_pixel_cross_entropy(x, y) for x, y in zip(logits.split(size), target.split(size))
        ]
        torch.testing.assert_close(torch.stack(parts).mean(), together)


def test_all_ignored() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = hard_pixel_cross_entropy(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert float(loss) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_padding_and_void_are_no_pixels_of_the_image() -> None:
    """4 x 4 labelled pixels in a crop of 8 x 8: the hardest four of them count, not all of them."""
    target = torch.full((1, 8, 8), 255)
    target[0, :4, :4] = 0
    logits = torch.zeros(1, 2, 8, 8)
    logits[0, 1, 0, :4] = 2.0
    loss = hard_pixel_cross_entropy(logits, target)
    assert float(loss) == pytest.approx(math.log1p(math.exp(2)))
    padded = hard_pixel_cross_entropy(logits[..., :4, :4], target[..., :4, :4])
    assert float(loss) == pytest.approx(float(padded))


def test_one_labelled_pixel() -> None:
    target = torch.full((1, 4, 4), 255)
    target[0, 2, 1] = 0
    loss = hard_pixel_cross_entropy(torch.zeros(1, 2, 4, 4), target)
    assert float(loss) == pytest.approx(math.log(2))


def test_a_single_pixel() -> None:
    loss = hard_pixel_cross_entropy(
        torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    )
    assert float(loss) == pytest.approx(math.log(4))


def test_types() -> None:
    torch.manual_seed(3)
    logits, target = torch.randn(1, 3, 8, 8, dtype=torch.float64), torch.randint(0, 3, (1, 8, 8))
    exact = hard_pixel_cross_entropy(logits, target)
    assert exact.dtype == torch.float64
    half = hard_pixel_cross_entropy(logits.bfloat16(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), exact, rtol=0.02, atol=0.02)


def test_gradient() -> None:
    """Only the hard pixels have one; there it is (softmax - one-hot) / (number kept)."""
    torch.manual_seed(4)
    logits = torch.randn(1, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (1, 4, 8))
    hard_pixel_cross_entropy(logits, target).backward()
    one_hot = torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2)
    probability = logits.detach().softmax(1)
    pixel_loss = -(probability * one_hot).sum(1).log()
    hard = pixel_loss >= pixel_loss.flatten().sort(descending=True).values[7]
    assert int(hard.sum()) == 8
    torch.testing.assert_close(logits.grad, (probability - one_hot) / 8 * hard[:, None])


@pytest.mark.parametrize("top_fraction", [0.0, 1.5])
def test_mistakes_name_the_key(top_fraction: float) -> None:
    message = rf"MODEL.SEM_SEG_HEAD.TOP_FRACTION must be in \(0, 1\], got {top_fraction}"
    with pytest.raises(ValueError, match=message):
        hard_pixel_cross_entropy(
            torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4).long(), top_fraction=top_fraction
        )


def test_class_weights() -> None:
    """Pixels are weighted before the hardest are chosen."""
    # Loss log 2 of class 0 and log(1 + e) of class 1, which weighs a half: the former are harder.
    logits = torch.zeros(1, 2, 1, 4)
    target = torch.tensor([[[0, 0, 1, 255]]])
    logits[0, 0, 0, 2] = 1.0
    actual = hard_pixel_cross_entropy(logits, target, top_fraction=0.6, class_weights=[1.0, 0.5])
    assert float(actual) == pytest.approx(math.log(2))
    actual = hard_pixel_cross_entropy(logits, target, top_fraction=1.0, class_weights=[1.0, 0.5])
    assert float(actual) == pytest.approx((2 * math.log(2) + math.log1p(math.e) / 2) / 3)
    plain = hard_pixel_cross_entropy(logits, target)
    assert torch.equal(hard_pixel_cross_entropy(logits, target, class_weights=[1, 1]), plain)
