"""At which size the network sees images."""

from typing import Any

import pytest

from effps_solo.planning.frame import Frame, choose_crop, choose_frame, padded


def test_images_of_one_size_with_large_objects_stay(make_data: Any) -> None:
    frame = choose_frame(make_data([(480, 640)] * 3, [[50, 60, 70, 80]] * 3))
    assert (frame.base_shortest_edge, frame.test_scale, frame.size) == (0, 1.0, (480, 640))
    assert "480 px" in frame.reason and "smaller than 58 px" in frame.reason


@pytest.mark.parametrize(
    ("side", "scale"),
    [(23, 1.25), (16, 1.5), (12, 2.0), (4, 2.0)],  # 24 px wanted, in quarters, at most twice
)
def test_small_objects_enlarge(make_data: Any, side: float, scale: float) -> None:
    frame = choose_frame(make_data([(480, 640)], [[side] * 5]))
    assert (frame.base_shortest_edge, frame.test_scale) == (0, scale)
    assert frame.size == (round(480 * scale), round(640 * scale))
    assert frame.sides(make_data([(480, 640)], [[side]]).images).tolist() == [side * scale]


def test_enlarging_ends_where_images_are_large(make_data: Any) -> None:
    assert choose_frame(make_data([(1024, 2048)], [[8] * 5])).test_scale == 1.0
    assert choose_frame(make_data([(768, 1536)], [[8] * 5])).test_scale == 1.25


def test_large_images_of_large_objects_shrink(make_data: Any) -> None:
    frame = choose_frame(make_data([(3000, 4000)], [[300] * 4]))
    assert (frame.base_shortest_edge, frame.test_scale) == (1024, 1.0)
    assert frame.size == (1024, 1365)
    frame = choose_frame(make_data([(3000, 4000)], [[40] * 4]))
    assert frame.base_shortest_edge == 1792  # 3000 * 24 / 40, in multiples of 32
    assert choose_frame(make_data([(3000, 4000)], [[24] * 4])).base_shortest_edge == 0


def test_images_of_many_sizes_come_to_one(make_data: Any) -> None:
    data = make_data([(256, 256), (256, 320), (512, 512)], [[8] * 4, [8] * 4, [16] * 4])
    frame = choose_frame(data)
    assert (frame.base_shortest_edge, frame.test_scale) == (512, 1.0)  # 8 px at 256: twice
    assert [frame.factor(image.size) for image in data.images] == [2, 2, 1]
    assert set(frame.sides(data.images).tolist()) == {16}


def test_without_objects(make_data: Any) -> None:
    frame = choose_frame(make_data([(300, 400)], [[]]))
    assert (frame.base_shortest_edge, frame.test_scale) == (0, 1.0)
    assert choose_frame(make_data([(3000, 4000)], [[]])).base_shortest_edge == 1024


def test_crops() -> None:
    def crop(size: Any, pixels: int) -> Any:
        return choose_crop(Frame(0, 1.0, size, ""), pixels)[0]

    assert crop((250, 500), 2**18) == (256, 512)  # the whole image
    assert crop((512, 512), 2**18) == (512, 512)
    assert crop((1024, 2048), 2**18) == (352, 736)
    assert crop((40, 4000), 2**16) == (32, 2016)
    assert padded((1, 33)) == (32, 64)
