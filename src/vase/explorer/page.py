"""The explorer's page: three cards around one model. What it shows is computed in `run_data`."""

from __future__ import annotations

import base64
from typing import BinaryIO

import numpy as np
from nicegui import ui
from numpy.typing import NDArray

from vase.errors import InputError, VaseError
from vase.explorer import run_data, uploads
from vase.explorer.run_data import EnvironmentEntry, ExplorerData, ImageInference, LatentControl
from vase.images.pixels import MODES
from vase.report.decode import Floats
from vase.report.images import png_of

SLIDER_RANGE = 3.0  # standard deviations of the prior: the ends of a slider
STYLE = """
<style>
  :root { --ink: #1f2328; --quiet: #59636e; --line: #d8dce1; --ground: #f6f7f9; --card: #fff; }
  .body--dark { --ink: #e9edf1; --quiet: #9aa4af; --line: #343b44; --ground: #14171b;
    --card: #1c2127; --q-primary: #56b4e9 !important; }
  body { background: var(--ground); color: var(--ink); font-size: 15px; }
  .vase-card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
    padding: 20px; width: 100%; overflow: clip; }
  .vase-quiet { color: var(--quiet); font-size: 13px; }
  .vase-title { font-size: 19px; font-weight: 650; }
  .vase-picture { image-rendering: pixelated; border-radius: 6px; width: 100%; display: block; }
  .vase-masked { opacity: .45; }
  .vase-band { display: flex; height: 12px; border-radius: 4px; overflow: hidden; width: 100%; }
  .vase-meaning { font-weight: 600; }
  .vase-tag { border: 1px solid var(--line); border-radius: 9px; padding: 0 7px; font-size: 12px;
    color: var(--quiet); white-space: nowrap; }
  .vase-number { white-space: nowrap; text-align: right; flex: none; }
  .q-uploader__list, .q-uploader__subtitle { display: none; }
  .q-uploader { width: 100%; background: transparent; }
</style>
"""


class Page:
    """One visitor's page: the environment, the latents and the image that are looked at."""

    def __init__(self, explored: ExplorerData, reader: uploads.ImageReader) -> None:
        self.explored = explored
        self.reader = reader
        self.index = explored.run.environments.current
        self.z: NDArray[np.float32] = run_data.sample_latents(explored, self.index, 0)
        self.draws = 0

    def build(self) -> None:
        """Lay out the page."""
        with column_of_cards():
            self._head()
            self._latents()
            self._image()
            self._training()

    def _head(self) -> None:
        run = self.explored.run
        with ui.row().classes("w-full items-center justify-between"):
            with ui.column().classes("gap-0"):
                ui.label(run.path.resolve().name).classes("text-2xl font-bold")
                ui.label(_summary(self.explored)).classes("vase-quiet")
            appearance_buttons()

    # ---- latents -------------------------------------------------------------------------------

    def _latents(self) -> None:
        with card():
            heading("Latents", "Drag one, and see what it does in this environment.")
            with ui.row().classes("w-full items-start gap-6"):
                with ui.column().classes("gap-3 w-full sm:w-64"):
                    self.picture = _picture("the image of the latents")
                    self.choice = ui.select(
                        {
                            place.index: _environment_label(place)
                            for place in self.explored.environments
                        },
                        value=self.index,
                        label="environment",
                        on_change=lambda event: self._go(event.value),
                    ).classes("w-full")
                    with ui.row().classes("gap-2"):
                        ui.button("Generate", on_click=self._generate).props("outline no-caps")
                        ui.button("All to 0", on_click=self._rest).props("flat no-caps")
                self.sliders = ui.column().classes("gap-1 grow min-w-64")
        self._rows()
        self._paint()

    def _rows(self) -> None:
        """A slider for every latent that matters; those that are spare everywhere are folded."""
        self.sliders.clear()
        found = run_data.latent_controls(self.explored, self.index)
        with self.sliders:
            for control in filter(run_data.used_anywhere, found):
                self._row(control)
            idle = [control for control in found if not run_data.used_anywhere(control)]
            if idle:
                with ui.expansion(f"{len(idle)} spare latents: room for what comes next").classes(
                    "w-full vase-quiet"
                ):
                    for control in idle:
                        self._row(control)

    def _row(self, control: LatentControl) -> None:
        masked = control.state == "masked"
        row = ui.row().classes("w-full items-center gap-3 no-wrap")
        with row.classes("vase-masked") if masked else row:
            with ui.column().classes("gap-0 w-40 flex-none"):
                ui.label(control.meaning or f"z{control.latent}").classes("vase-meaning")
                ui.label(_latent_status(control)).classes("vase-quiet")
            slider = ui.slider(
                min=-SLIDER_RANGE,
                max=SLIDER_RANGE,
                step=0.05,
                value=0.0 if masked else float(self.z[control.latent]),
                on_change=lambda event: self._drag(control.latent, event.value),
            )
            slider.props(
                f'aria-label="latent {control.latent}" label selection-color=transparent'
            ).classes("grow")
            slider.set_enabled(not masked)
            if control.shared:
                names = ", ".join(str(index) for index in control.shared)
                how = "shared with" if control.state == "used" else "used in"
                ui.label(f"{how} {names}").classes("vase-tag max-sm:hidden")

    def _drag(self, latent: int, value: float) -> None:
        self.z[latent] = value
        self._paint()

    def _paint(self) -> None:
        _set_image(self.picture, run_data.decode_latents(self.explored, self.z, self.index))

    def _go(self, index: int) -> None:
        self.index = index
        self._rows()
        self._paint()

    def _generate(self) -> None:
        self.draws += 1
        self._set(run_data.sample_latents(self.explored, self.index, self.draws))

    def _rest(self) -> None:
        self._set(np.zeros_like(self.z))

    def _set(self, z: NDArray[np.float32]) -> None:
        self.z = np.array(z, dtype=np.float32)
        self._rows()
        self._paint()

    # ---- an image ------------------------------------------------------------------------------

    def _image(self) -> None:
        with card():
            shape = self.explored.run.networks.architecture
            droppable = not shape.of_vectors and shape.channels in MODES
            heading(
                "An image",
                f"{'Drop one of your own, or take' if droppable else 'Take'} one below: which "
                "environment is it from, how sure is the model, and what would it be elsewhere?",
            )
            if droppable:
                self.upload = ui.upload(
                    label="Drop an image here",
                    auto_upload=True,
                    max_file_size=run_data.MAX_UPLOAD_BYTES,
                    on_rejected=self._rejected,
                )
                uploads.receive(self.upload, self.reader, self._dropped)
                self.upload.on("failed", self._failed)
                self.upload.props('accept="image/*" flat bordered').classes("w-full")
            with ui.row().classes("gap-2 py-3"):
                for domain, images in self.explored.examples.items():
                    for image in images[:4]:
                        _thumbnail(image, 48).style("cursor: pointer").on(
                            "click", lambda _, image=image: self._look(image)
                        )
                    ui.label(domain).classes("vase-quiet self-center pr-4")
            self.answer = ui.column().classes("w-full gap-4")
        first = next(iter(self.explored.examples.values()), None)
        if first is not None:
            self._show(first[0], run_data.infer_image(self.explored, first[0]))

    async def _dropped(self, file: BinaryIO, name: str) -> str:
        """Look at a file that was sent; the answer to the request."""
        try:
            image, found = await self.reader.read(file, name)
        except InputError as error:
            with self.answer:
                ui.notify(str(error), type="negative", multi_line=True)
            return str(error)
        finally:
            self.upload.reset()
        self._show(image, found)
        return "Looked at."

    def _failed(self) -> None:
        ui.notify("The upload failed. Try again, one image at a time.", type="negative")
        self.upload.reset()

    def _rejected(self) -> None:
        limit = run_data.MAX_UPLOAD_BYTES // 1_000_000
        ui.notify(f"That is no image, or one of more than {limit} MB.", type="negative")
        self.upload.reset()

    async def _look(self, image: Floats) -> None:
        try:
            found = await self.reader.infer(image)
        except InputError as error:
            ui.notify(str(error), type="negative")
            return
        self._show(image, found)

    def _show(self, image: Floats, found: ImageInference) -> None:
        self.answer.clear()
        with self.answer, ui.row().classes("w-full gap-8 items-start"):
            with ui.column().classes("gap-3 grow min-w-64"):
                self._pictures(image, found)
                self._belief(found)
            with ui.column().classes("gap-1 grow min-w-64"):
                self._posterior(found)

    def _pictures(self, image: Floats, found: ImageInference) -> None:
        with ui.row().classes("gap-4"):
            with ui.column().classes("gap-1"):
                _thumbnail(image, 128, "the image that is looked at")
                ui.label("the image").classes("vase-quiet")
            for place in self.explored.environments:
                with ui.column().classes("gap-1"):
                    _thumbnail(found.translations[place.index], 128)
                    chosen = place.index == found.most_probable
                    ui.label(
                        "as it is seen" if chosen else f"in {_environment_label(place)}"
                    ).classes("vase-quiet")

    def _belief(self, found: ImageInference) -> None:
        for place in self.explored.environments:
            share = float(found.belief[place.index])
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                ui.label(_environment_label(place)).classes("w-40 flex-none truncate")
                ui.linear_progress(share, show_value=False, size="12px").props("rounded").classes(
                    "grow"
                )
                ui.label(f"{100 * share:.0f} %").classes("vase-number w-12")

    def _posterior(self, found: ImageInference) -> None:
        """Of every latent in use, two standard deviations around the mean."""
        ui.label(f"its latents, as environment {found.most_probable} has it").classes("vase-quiet")
        for control in run_data.latent_controls(self.explored, found.most_probable):
            if control.state != "used":
                continue
            mean, spread = (float(part[control.latent]) for part in (found.mean, found.deviation))
            low, high = np.clip(
                [mean - 2 * spread, mean + 2 * spread], -SLIDER_RANGE, SLIDER_RANGE
            ).tolist()
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                ui.label(control.meaning or f"z{control.latent}").classes("w-32 flex-none truncate")
                ui.range(
                    min=-SLIDER_RANGE, max=SLIDER_RANGE, step=0.01, value={"min": low, "max": high}
                ).props("readonly thumb-size=0px track-size=8px").classes("grow")
                ui.label(f"{mean:+.1f} ± {spread:.2f}").classes("vase-quiet vase-number w-24")
        ui.button("Put it on the sliders", on_click=lambda: self._take(found)).props(
            "flat no-caps dense"
        )

    def _take(self, found: ImageInference) -> None:
        self.index = found.most_probable
        self.choice.set_value(found.most_probable)
        self._set(found.mean)

    # ---- the training --------------------------------------------------------------------------

    def _training(self) -> None:
        explored, shown = self.explored, set[int]()
        with card():
            kind = (
                "Held-out images" if explored.real else "Images generated by the model as it is now"
            )
            heading("The training", f"{kind}, as the model saw them at the time.")
            for title, segments in run_data.segment_bars(explored).items():
                with ui.row().classes("w-full items-center gap-3 no-wrap"):
                    ui.label(title).classes("vase-quiet w-20 flex-none")
                    with ui.element("div").classes("vase-band"):
                        for width, colour, name in segments:
                            ui.element("div").style(
                                f"width: {100 * width:.3f}%; background: {colour}"
                            ).tooltip(name)
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                ui.label("weights").classes("vase-quiet w-20 flex-none")
                ui.slider(
                    min=0,
                    max=explored.run.steps,
                    value=explored.run.steps,
                    on_change=lambda event: show(run_data.nearest_milestone(explored, event.value)),
                ).props("aria-label=training selection-color=transparent")
            step = ui.label()
            rows = ui.column().classes("w-full gap-2")

        def show(milestone: int) -> None:
            if milestone in shown:
                return
            shown.clear()
            shown.add(milestone)
            step.set_text(run_data.describe_step(explored, milestone))
            rows.clear()
            with rows:
                try:
                    for domain in explored.examples:
                        self._remembered(domain, milestone)
                except VaseError as error:  # the run went on, or was cut back, meanwhile
                    ui.label(str(error)).classes("vase-quiet")

        show(explored.run.steps)

    def _remembered(self, domain: str, milestone: int) -> None:
        found = run_data.reconstruct_examples(self.explored, milestone, domain)
        ui.label(domain).classes("vase-quiet")
        with ui.row().classes("gap-2"):
            if found is None:
                ui.label("not known yet").classes("vase-quiet italic")
                return
            for image, copy in list(zip(self.explored.examples[domain], found, strict=True))[:8]:
                with ui.column().classes("gap-1"):
                    _thumbnail(image, 56)
                    _thumbnail(copy, 56)


# ---- pieces -------------------------------------------------------------------------------------


def appearance_buttons() -> None:
    """Buttons for a light or a dark page, or whatever the system has."""
    dark = ui.dark_mode(None)
    with ui.button_group().props("flat"):
        for name, value in {"light": False, "dark": True, "system": None}.items():
            ui.button(name, on_click=lambda v=value: dark.set_value(v)).props(
                "flat dense no-caps size=sm"
            )


def column_of_cards(style: str = "") -> ui.element:
    """What a page consists of, in our look; style: of the page's own, as HTML."""
    ui.add_head_html(STYLE + style)
    ui.colors(primary="#0072B2")
    return ui.column().classes("w-full max-w-5xl mx-auto gap-5 p-2")


def card() -> ui.element:
    """A part of a page, in a frame."""
    return ui.element("section").classes("vase-card")


def heading(title: str, line: str) -> None:
    """The title of a card, and a line on what it is."""
    ui.label(title).classes("vase-title")
    ui.label(line).classes("vase-quiet pb-3")


def png_address(png: bytes) -> str:
    """An address that holds the image itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _picture(alt: str) -> ui.element:
    """A place for an image."""
    return ui.element("img").classes("vase-picture").props(f'alt="{alt}"')


def _set_image(picture: ui.element, image: Floats) -> None:
    picture.props["src"] = png_address(png_of(image[None]))
    picture.update()


def _thumbnail(image: Floats, size: int, alt: str = "") -> ui.element:
    shown = _picture(alt).style(f"width: {size}px")
    _set_image(shown, image)
    return shown


def _environment_label(place: EnvironmentEntry) -> str:
    return f"{place.index}: {place.name}" if place.name else str(place.index)


def _latent_status(control: LatentControl) -> str:
    number = f"z{control.latent}, " if control.meaning else ""
    if control.state == "masked":
        return f"{number}masked here"
    if control.state != "used":
        return f"{number}spare"
    explained = f", explains {100 * control.share:.0f} %" if control.share else ""
    return f"{number}{control.nats:.1f} nats{explained}"


def _summary(explored: ExplorerData) -> str:
    run = explored.run
    count = len(explored.environments)
    environments = f"{count} environment{'s' if count > 1 else ''}"
    return f"VASE, {run.steps:,} steps, {environments}, {run.networks.architecture.latents} latents"
