"""The page itself: what lies where, and which event calls what."""

import os
from typing import Any, List, Optional, Tuple

from effps_solo.inference.result import PanopticResult
from effps_solo.utils.errors import UserError

from . import session as actions
from .session import SECONDS_OF_FILES, Session

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before the import
import gradio as gr  # noqa: E402

_TITLE = "Panoptic segmentation"
_COLUMNS = ["class", "kind", "score", "pixels"]
Results = List[PanopticResult]


def build_page(session: Session) -> gr.Blocks:
    """The page for the models of ``session``, side by side."""
    # Of exported models 0, which stands for the one that they were made with.
    start = max(model.confidence_threshold for model in session.models.values())
    files = (SECONDS_OF_FILES, SECONDS_OF_FILES)
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=files) as page:
        gr.Markdown(f"# {_TITLE}\nDrop an image. Click a segment for its class and score.")
        results = gr.State([], time_to_live=SECONDS_OF_FILES)
        with gr.Row():
            upload = gr.File(
                label="Image", file_types=["image"], type="filepath", elem_id="upload", height=140
            )
            with gr.Column():
                confidence = gr.Slider(
                    0, 1, start, step=0.01, label="Lowest score of an object", elem_id="confidence"
                )
                opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity", elem_id="opacity")
                labels = gr.Checkbox(True, label="Labels and legend", elem_id="labels")
        pictures, details, tables = [], [], []
        with gr.Row():
            for number, name in enumerate(session.models):
                with gr.Column():
                    pictures.append(
                        gr.Image(
                            label=name,
                            interactive=False,
                            format="png",
                            elem_id=f"overlay{number}",
                            buttons=["fullscreen"],
                        )
                    )
                    details.append(gr.Markdown(elem_id=f"details{number}"))
                    tables.append(
                        gr.Dataframe(
                            headers=_COLUMNS,
                            label="Segments",
                            elem_id=f"table{number}",
                            max_height=260,
                            interactive=False,
                        )
                    )
        files_out = gr.Files(label="Downloads", interactive=False, elem_id="downloads")
        handlers = _Handlers(session)
        shown = [*pictures, *tables, files_out]
        for event in (upload.change, confidence.release):
            event(handlers.predict, [upload, confidence, opacity, labels], [results, *shown])
        for event in (opacity.release, labels.change):
            event(handlers.draw, [results, opacity, labels], pictures)
        for number, (shown_picture, text) in enumerate(zip(pictures, details)):
            shown_picture.select(handlers.describe(number), [results], text)
    return page


class _Handlers:
    """Called by events with the values of components; a user's mistake becomes a message on the page."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def predict(
        self, path: Optional[str], confidence: float, opacity: float, labels: bool
    ) -> Tuple[Any, ...]:
        """results, a picture and a table for each model, files."""
        count = len(self.session.models)
        nothing: Tuple[Any, ...] = ([], *[None] * count, *[[]] * count, None)
        if path is None:
            return nothing
        try:
            results = self.session.predict(path, confidence)
        except UserError as error:
            gr.Warning(str(error), title="This file cannot be used", duration=30)
            return nothing
        stem = os.path.splitext(os.path.basename(path))[0]
        names = [stem] if count == 1 else [f"{stem}_{k + 1}" for k in range(count)]
        return (
            results,
            *(actions.picture(result, opacity, labels) for result in results),
            *(actions.table(result) for result in results),
            self.session.downloads(results, names),
        )

    def draw(self, results: Results, opacity: float, labels: bool) -> Any:
        """A picture for each model: a value for one output, a list for several."""
        found: List[Any] = [actions.picture(result, opacity, labels) for result in results]
        found = found or [None] * len(self.session.models)
        return found if len(found) > 1 else found[0]

    def describe(self, number: int) -> Any:
        """The handler of clicks on the picture of a model."""

        def on_click(results: Results, event: gr.SelectData) -> str:
            if len(results) <= number:
                return ""
            return actions.describe(actions.segment_at(results[number], *event.index))

        return on_click


def serve(session: Session, host: str, port: int, *, block: bool = True) -> gr.Blocks:
    """Serve the page at ``host`` and ``port`` until Ctrl-C.

    ``block=False``: return at once, with the server in threads, the page, whose ``close()`` ends it.
    """
    page = build_page(session)
    fonts = ["system-ui", "sans-serif"]  # nothing is fetched from elsewhere
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        show_error=True,
        quiet=True,
        max_file_size=int(session.limits.megabytes * 1e6),
        theme=gr.themes.Default(font=fonts, font_mono=["monospace"]),
        footer_links=[],
        prevent_thread_lock=not block,
        ssr_mode=False,
        enable_monitoring=False,
    )
    return page
