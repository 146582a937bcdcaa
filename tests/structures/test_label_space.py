"""PanopticLabelSpace: things in the middle of the ids, at the end (Cityscapes) and missing."""

from types import SimpleNamespace

import pytest

from effps_solo.structures.label_space import PanopticLabelSpace

# Cityscapes: dataset ids of the 19 classes in the order of their contiguous ids, things last.
STUFF_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23)
THING_IDS = (24, 25, 26, 27, 28, 31, 32, 33)


@pytest.fixture
def cityscapes() -> PanopticLabelSpace:
    return PanopticLabelSpace(
        {dataset_id: 11 + i for i, dataset_id in enumerate(THING_IDS)},
        {dataset_id: i for i, dataset_id in enumerate(STUFF_IDS)},
    )


def test_offset_space(cityscapes: PanopticLabelSpace) -> None:
    assert (cityscapes.num_classes, cityscapes.num_things) == (19, 8)
    assert cityscapes.thing_ids == (11, 12, 13, 14, 15, 16, 17, 18)
    assert cityscapes.stuff_ids == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert cityscapes.ignore_label == 255
    # The car: dataset id 26, trainId 13, third thing.
    assert cityscapes.contiguous_id(26) == 13
    assert cityscapes.thing_index(13) == 2
    assert cityscapes.thing_contiguous_id(2) == 13
    assert cityscapes.dataset_id(13) == 26


def test_round_trips(cityscapes: PanopticLabelSpace) -> None:
    for dataset_id in STUFF_IDS + THING_IDS:
        contiguous = cityscapes.contiguous_id(dataset_id)
        assert cityscapes.dataset_id(contiguous) == dataset_id
        assert cityscapes.is_thing(contiguous) is (dataset_id in THING_IDS)
    for index in range(cityscapes.num_things):
        assert cityscapes.thing_index(cityscapes.thing_contiguous_id(index)) == index


def test_things_between_stuff_are_numbered_in_ascending_order() -> None:
    space = PanopticLabelSpace({70: 3, 50: 1}, {10: 0, 99: 2})
    assert space.thing_ids == (1, 3)
    assert space.stuff_ids == (0, 2)
    assert [space.thing_index(c) for c in (1, 3)] == [0, 1]


@pytest.mark.parametrize("things, stuff", [({5: 0, 6: 1}, {}), ({}, {5: 0, 6: 1}), ({}, {})])
def test_spaces_of_one_kind(things: dict, stuff: dict) -> None:
    space = PanopticLabelSpace(things, stuff)
    assert space.num_things == len(things)
    assert space.num_classes == len(things) + len(stuff)
    assert space.thing_ids == tuple(things.values())
    assert space.stuff_ids == tuple(stuff.values())


def test_unknown_ids(cityscapes: PanopticLabelSpace) -> None:
    assert not cityscapes.is_thing(255)
    assert not cityscapes.is_thing(19)
    for call in (
        lambda: cityscapes.contiguous_id(6),
        lambda: cityscapes.dataset_id(255),
        lambda: cityscapes.thing_index(10),
    ):
        with pytest.raises(KeyError):
            call()
    with pytest.raises(IndexError):
        cityscapes.thing_contiguous_id(8)


@pytest.mark.parametrize(
    "things, stuff, ignore_label, message",
    [
        ({7: 0}, {7: 1}, 255, r"\[7\].*thing and as stuff"),
        ({7: 0}, {8: 0}, 255, "each once"),
        ({7: 1}, {8: 2}, 255, r"0 \.\. C-1"),
        ({7: 0, 8: 3}, {9: 1}, 255, r"\[0, 1, 3\]"),
        ({7: 0}, {8: 1}, 1, "ignore_label 1"),
    ],
)
def test_contradictions_are_refused(
    things: dict, stuff: dict, ignore_label: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PanopticLabelSpace(things, stuff, ignore_label)


def test_from_metadata() -> None:
    metadata = SimpleNamespace(
        name="streets",
        thing_dataset_id_to_contiguous_id={26: 1},
        stuff_dataset_id_to_contiguous_id={7: 0},
        ignore_label=99,
    )
    space = PanopticLabelSpace.from_metadata(metadata)
    assert (space.thing_ids, space.stuff_ids, space.ignore_label) == ((1,), (0,), 99)
    del metadata.ignore_label
    assert PanopticLabelSpace.from_metadata(metadata).ignore_label == 255
    del metadata.stuff_dataset_id_to_contiguous_id
    with pytest.raises(AttributeError, match="'streets' has no stuff_dataset_id"):
        PanopticLabelSpace.from_metadata(metadata)
