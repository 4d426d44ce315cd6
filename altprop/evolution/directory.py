"""The directory of a search's run.

recipe.toml  environment.json  task.json  metrics.jsonl     and data.json, where the task is data
checkpoint/state.json + checkpoint/<generation>.safetensors the search after its last generation, to the bit
model.safetensors                                           the champion, a plain state dict
champion.json  champion.py                                  its genome, where it is written as a graph or as a tree
champion.gif                                                what it does, where its task has a film of it
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from altprop.data import Dataset
from altprop.evolution.recipe import SearchRecipe, read_search_recipe
from altprop.run.directory.files import RunError, failed_write, read_json, read_rows, unreadable, write_atomically
from altprop.run.directory.folder import Folder, environment
from altprop.run.directory.generations import Asked, GenerationRow, SearchState
from altprop.run.directory.store import Description, describe
from altprop.tasks import Task


class SearchDirectory(Folder):
    """One run of a search on disk."""

    demanded, schema = ("recipe.toml", "task.json"), SearchState

    @classmethod
    def create(cls, path: Path, recipe: SearchRecipe, task: Task, data: Dataset | None) -> SearchDirectory:
        """A new directory; raises ``RunError`` where there is something already, or where nothing can be written."""
        asked = {"inputs": list(task.inputs), "outputs": task.outputs}
        files: dict[str, str | bytes] = {
            "recipe.toml": recipe.toml(),
            "environment.json": json.dumps(environment("cpu"), indent=1),
            "task.json": json.dumps(asked),
        }
        if data is not None:
            files["data.json"] = json.dumps(describe(data), indent=1)
        return cls.make(path, files)

    def recipe(self) -> SearchRecipe:
        """Its recipe, with everything decided; raises ``RunError``."""
        recipe = read_search_recipe(self.path / "recipe.toml")
        if recipe.parts is None or recipe.threads is None:
            missing = "parts" if recipe.parts is None else "threads"
            raise unreadable(self.path / "recipe.toml", f"{missing} is missing", "the recipe that the run has left")
        return recipe

    def asked(self) -> dict[str, Any]:
        """Inputs and outputs of its task."""
        return read_json(self.path / "task.json", Asked)

    def data(self) -> dict[str, Any] | None:
        """What was known of the data; None where a task was asked."""
        path = self.path / "data.json"
        return read_json(path, Description) if path.is_file() else None

    def log(self, row: dict[str, Any]) -> None:
        """One more line, after those there are."""
        try:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise failed_write(self.path / "metrics.jsonl", error) from error

    def metrics(self, generation: int | None = None) -> list[dict[str, Any]]:
        """One row a generation, up to that one; later ones, of a run killed before its checkpoint, are taken out."""
        path = self.path / "metrics.jsonl"
        rows = read_rows(path, GenerationRow, whole=False) if path.is_file() else []
        kept = [row for row in rows if generation is None or row["generation"] <= generation]
        if [row["generation"] for row in kept] != list(range(1, len(kept) + 1)):
            raise unreadable(path, "its rows do not count the generations", "one row a generation")
        if generation is not None and len(kept) < generation:
            raise RunError(f"{path} has {len(kept)} rows of {generation} generations: start the run anew")
        if len(kept) < len(rows) or (path.is_file() and not path.read_bytes().endswith(b"\n")):
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        return kept

    def finish(self, model: bytes, texts: dict[str, str]) -> None:
        """The champion: its parameters, and its genome as text by file name.  model.safetensors comes last."""
        for name, text in texts.items():
            write_atomically(self.path / name, text)
        write_atomically(self.path / "model.safetensors", model)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return os.path.isfile(self.path / "model.safetensors")
