"""The mapper against masks that are transformed one by one, and its errors."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image

from effps_solo.data.augmentation import CropAtObject, RandomScale
from effps_solo.data.mapper import (
    AnnotationError,
    PanopticDatasetMapper,
    read_dense_segments,
    transform_ids,
)
from effps_solo.structures.label_space import PanopticLabelSpace

LABEL_SPACE = PanopticLabelSpace({26: 2, 24: 3}, {7: 0, 23: 1})  # things behind stuff


def write_sample(folder, ids, size=None, image_size=None):
    """An image and a panoptic PNG of ``ids`` (H, W); returns the dict without segments_info."""
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "label.png")
    height, width = image_size or ids.shape
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "image.png")
    return {
        "file_name": str(folder / "image.png"),
        "pan_seg_file_name": str(folder / "label.png"),
        "image_id": 1,
    }


def make_mapper(augmentations=(), is_train=True):
    return PanopticDatasetMapper(
        is_train, augmentations=list(augmentations), image_format="RGB", label_space=LABEL_SPACE
    )


def street(folder):
    """Road, sky, two cars, a group of persons, and void."""
    ids = np.zeros((32, 48), dtype=np.int64)
    ids[:8], ids[8:] = 70000, 7
    ids[12:20, 4:16], ids[12:20, 16:28] = 26001, 26002
    ids[10:18, 36:48] = 24
    ids[28:] = 0
    sample = write_sample(folder, ids)
    sample["segments_info"] = [
        {"id": 70000, "category_id": 1},
        {"id": 7, "category_id": 0},
        {"id": 26001, "category_id": 2, "iscrowd": 0},
        {"id": 26002, "category_id": 2},
        {"id": 24, "category_id": 3, "iscrowd": 1},
    ]
    return sample, ids


def test_plain_mapping(tmp_path):
    sample, ids = street(tmp_path)
    mapped = make_mapper()(sample)
    assert mapped["image"].shape == (3, 32, 48) and mapped["image"].dtype == torch.uint8
    expected = np.full(ids.shape, 255)
    for segment in sample["segments_info"]:
        expected[ids == segment["id"]] = segment["category_id"]
    assert (mapped["sem_seg"].numpy() == expected).all()
    instances = mapped["instances"]
    assert instances.gt_classes.tolist() == [0, 0]  # thing index of class 2
    assert instances.gt_boxes.tensor.tolist() == [[4, 12, 16, 20], [16, 12, 28, 20]]
    assert instances.gt_centers.tolist() == [[9.5, 15.5], [21.5, 15.5]]
    ignored = mapped["instance_ignore"].numpy()
    assert ignored.shape == (8, 12)
    assert ignored[7].all()  # void
    assert ignored[3, 9:].all() and not ignored[3, :9].any()  # the group
    assert "segments_info" not in mapped


def test_inference_reads_no_annotation(tmp_path):
    sample, _ = street(tmp_path)
    sample["pan_seg_file_name"] = "missing.png"
    mapped = make_mapper(is_train=False)(sample)
    assert (mapped["height"], mapped["width"]) == (32, 48)
    assert "instances" not in mapped


def test_image_without_objects(tmp_path):
    sample = write_sample(tmp_path, np.zeros((10, 16), dtype=np.int64))
    sample["segments_info"] = []
    mapped = make_mapper()(sample)
    assert len(mapped["instances"]) == 0
    assert mapped["instances"].gt_stride4_masks.shape == (0, 3, 4)
    assert len(mapped["instances"].gt_masks) == 0
    assert (mapped["sem_seg"] == 255).all() and mapped["instance_ignore"].all()


def test_augmentations_see_the_boxes_of_the_objects(tmp_path):
    seen = []

    class Spy(T.Augmentation):
        def get_transform(self, image, boxes):
            seen.append(boxes.tolist())
            return T.NoOpTransform()

    sample, _ = street(tmp_path)  # the group is no object
    make_mapper([RandomScale((2.0, 2.0)), Spy()])(sample)
    sky = {
        **write_sample(tmp_path, np.full((8, 8), 7)),
        "segments_info": [sample["segments_info"][1]],
    }
    make_mapper([Spy()])(sky)
    assert seen == [[[8, 24, 32, 40], [32, 24, 56, 40]], []]


def test_boxes_are_read_off_the_map_only_where_an_augmentation_wants_them(tmp_path, monkeypatch):
    sample, _ = street(tmp_path)
    monkeypatch.setattr("effps_solo.data.mapper.boxes_from_id_map", None)  # calling it fails
    assert len(make_mapper([RandomScale((2.0, 2.0))])(sample)["instances"]) == 2
    with pytest.raises(TypeError):
        make_mapper([CropAtObject((16, 16), 1.0)])(sample)


def test_crop_beyond_the_image_is_void(tmp_path):
    sample, _ = street(tmp_path)
    crop = T.FixedSizeCrop((64, 64), pad_value=128, seg_pad_value=255)
    mapped = make_mapper([crop])(sample)
    assert mapped["image"].shape == (3, 64, 64)
    assert (mapped["sem_seg"][32:] == 255).all()
    assert mapped["instance_ignore"][8:].all()


def test_images_without_objects_survive_crops_that_look_for_some(tmp_path):
    sky = {
        **write_sample(tmp_path, np.full((80, 90), 7)),
        "segments_info": [{"id": 7, "category_id": 0}],
    }
    crop = T.FixedSizeCrop((32, 48), pad_value=128, seg_pad_value=255)
    mapped = make_mapper([CropAtObject((32, 48), 1.0), crop])(sky)
    assert mapped["image"].shape == (3, 32, 48)
    assert (mapped["sem_seg"] == 0).all() and len(mapped["instances"]) == 0
    group, _ = street(tmp_path)  # a crowd is no object either
    group["segments_info"] = [{**s, "iscrowd": 1} for s in group["segments_info"]]
    assert len(make_mapper([CropAtObject((16, 16), 1.0)])(group)["instances"]) == 0


def test_300_objects_survive_padding(tmp_path):
    ids = np.zeros((40, 64), dtype=np.int64)
    ids[:, :60] = np.arange(1, 301).reshape(10, 30).repeat(4, 0).repeat(2, 1)
    sample = write_sample(tmp_path, ids)
    sample["segments_info"] = [{"id": k, "category_id": 2} for k in range(1, 301)]
    crop = T.FixedSizeCrop((64, 96), pad_value=128, seg_pad_value=255)
    mapped = make_mapper([crop])(sample)
    assert len(mapped["instances"]) == 300
    assert (mapped["instances"].gt_areas == 8).all()
    assert int((mapped["sem_seg"] == 2).sum()) == 2400


def test_dense_ids_skip_255(tmp_path):
    ids = np.arange(1, 401).reshape(20, 20)
    sample = write_sample(tmp_path, ids)
    info = [{"id": k, "category_id": 0} for k in range(1, 401)]
    segments = read_dense_segments(sample["pan_seg_file_name"], info)
    assert segments.info[255] is None and 255 not in segments.ids
    assert len(np.unique(segments.ids)) == 400
    flipped = transform_ids(segments.ids, T.HFlipTransform(20))
    assert (flipped == segments.ids[:, ::-1]).all()


def test_unlisted_segment_is_named(tmp_path):
    sample, _ = street(tmp_path)
    sample["segments_info"].pop()
    with pytest.raises(AnnotationError, match=r"label\.png.*\[24\]"):
        make_mapper()(sample)


def test_sizes_that_differ_are_named(tmp_path):
    sample = write_sample(tmp_path, np.zeros((10, 12), dtype=np.int64), image_size=(10, 14))
    sample["segments_info"] = []
    with pytest.raises(AnnotationError, match=r"label\.png is 12x10.*14x10"):
        make_mapper()(sample)


def test_missing_segments_info_is_named(tmp_path):
    sample = write_sample(tmp_path, np.zeros((10, 12), dtype=np.int64))
    with pytest.raises(AnnotationError, match="no segments_info"):
        make_mapper()(json.loads(json.dumps(sample)))
