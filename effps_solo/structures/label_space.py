"""The three label spaces of a panoptic data set, and the only code that maps between them.

========================  ====================================================================
dataset id                the ids in annotation files and in the evaluators' output
contiguous id  0 .. C-1   channels of the semantic head, ``category_id``, ``pred_classes``
thing index    0 .. T-1   classes of an instance head (field ``thing_index``)
========================  ====================================================================
"""

from typing import Any, Dict, Mapping, Tuple


class PanopticLabelSpace:
    """Maps between dataset ids, contiguous ids and thing indices.

    Attributes:
        thing_ids, stuff_ids: contiguous ids in ascending order, T and C - T of them. The thing
            index of a class is its position in ``thing_ids``.
        ignore_label: the contiguous id that means void.
    """

    def __init__(
        self, thing_ids: Mapping[int, int], stuff_ids: Mapping[int, int], ignore_label: int = 255
    ) -> None:
        """
        Args:
            thing_ids: dataset id -> contiguous id of every thing class.
            stuff_ids: the same of every stuff class.
            ignore_label: the id of void in semantic maps; no class may have it.

        Raises:
            ValueError: a class is both, the contiguous ids are not 0 .. C-1, or void is a class.
        """
        self._to_contiguous: Dict[int, int] = {**stuff_ids, **thing_ids}
        both = sorted(set(thing_ids) & set(stuff_ids))
        if both:
            raise ValueError(f"dataset ids {both} are listed as thing and as stuff")
        contiguous = sorted([*thing_ids.values(), *stuff_ids.values()])
        if contiguous != list(range(len(contiguous))):
            raise ValueError(
                f"contiguous ids must be 0 .. C-1, each once; got {contiguous} from "
                f"thing_ids={dict(thing_ids)}, stuff_ids={dict(stuff_ids)}"
            )
        if ignore_label in contiguous:
            raise ValueError(f"ignore_label {ignore_label} is the contiguous id of a class")
        self.thing_ids: Tuple[int, ...] = tuple(sorted(thing_ids.values()))
        self.stuff_ids: Tuple[int, ...] = tuple(sorted(stuff_ids.values()))
        self.ignore_label = ignore_label
        self._to_dataset = {c: d for d, c in self._to_contiguous.items()}
        self._thing_index = {c: i for i, c in enumerate(self.thing_ids)}

    @classmethod
    def from_metadata(cls, metadata: Any) -> "PanopticLabelSpace":
        """From a Detectron2 ``Metadata``; raises AttributeError when it has no thing or stuff map."""
        keys = [f"{kind}_dataset_id_to_contiguous_id" for kind in ("thing", "stuff")]
        missing = [key for key in keys if not hasattr(metadata, key)]
        if missing:
            name = getattr(metadata, "name", "?")
            raise AttributeError(
                f"data set '{name}' has no {' and no '.join(missing)} in its metadata; "
                "register it as a panoptic data set"
            )
        things, stuff = (getattr(metadata, key) for key in keys)
        return cls(things, stuff, getattr(metadata, "ignore_label", 255))

    @property
    def num_classes(self) -> int:
        """C, things and stuff."""
        return len(self._to_contiguous)

    @property
    def num_things(self) -> int:
        """T."""
        return len(self.thing_ids)

    def is_thing(self, contiguous_id: int) -> bool:
        """Whether the class is countable; False for void and unknown ids."""
        return contiguous_id in self._thing_index

    def contiguous_id(self, dataset_id: int) -> int:
        """dataset id -> contiguous id. Raises KeyError when the data set has no such class."""
        return self._to_contiguous[dataset_id]

    def dataset_id(self, contiguous_id: int) -> int:
        """contiguous id -> dataset id. Raises KeyError for void and unknown ids."""
        return self._to_dataset[contiguous_id]

    def thing_index(self, contiguous_id: int) -> int:
        """contiguous id -> thing index. Raises KeyError when the class is not a thing."""
        return self._thing_index[contiguous_id]

    def thing_contiguous_id(self, thing_index: int) -> int:
        """thing index -> contiguous id. Raises IndexError out of range."""
        return self.thing_ids[thing_index]
