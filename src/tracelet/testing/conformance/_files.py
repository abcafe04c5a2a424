"""Of files that are kept: artifacts, models, and the registry of models."""

from __future__ import annotations

from pathlib import Path

from tracelet.events import ArtifactLogged, ModelLogged, ModelRegistered
from tracelet.testing.conformance._drive import TIME, Drive, Suite


class Files(Suite):
    """Files."""

    async def test_artifacts_arrive(self, drive: Drive, tmp_path: Path) -> None:
        """Files arrive byte for byte, empty and binary ones too, and a second delivery replaces the first."""
        self.requires(ArtifactLogged)
        session = await drive.start()
        contents = {"model.bin": bytes(range(256)) * 1000, "deep/er/empty.txt": b"", "größe 2.txt": b"a name"}
        events = []
        for number, (name, content) in enumerate(contents.items()):
            path = tmp_path / f"blob-{number}"
            path.write_bytes(content)
            events.append(ArtifactLogged(TIME, name, str(path), len(content), path.stat().st_mtime_ns))
        degraded = await session.export(*events)
        self.check_degraded(ArtifactLogged, degraded, len(events))
        await session.export(*events)
        found = (await drive.read()).artifacts
        assert {name: found.get(name) for name in contents} == contents

    async def test_models_arrive(self, drive: Drive, tmp_path: Path) -> None:
        """A model of one file and one of a folder arrive byte for byte."""
        self.requires(ModelLogged)
        session = await drive.start()
        file, folder = _model_file(tmp_path), _model_folder(tmp_path)
        degraded = await session.export(file, folder)
        self.check_degraded(ModelLogged, degraded, 2)
        found = (await drive.read()).models
        assert found["small"] in ({"": b"weights"}, {Path(file.path).name: b"weights"}, {"small": b"weights"})
        assert found["large"] == {"config.json": b"{}", "weights/0.bin": bytes(1000)}

    async def test_a_model_is_registered(self, drive: Drive, tmp_path: Path) -> None:
        """A version of a registered model is made of the run's model, and its aliases lead to it."""
        self.requires(ModelLogged, ModelRegistered)
        session = await drive.start()
        name = f"classifier {drive.run_id}"
        registered = ModelRegistered(TIME, name, "large", ("champion", "newest"), "the first")
        await session.export(_model_folder(tmp_path))
        degraded = await session.export(registered)
        self.check_degraded(ModelRegistered, degraded, 1)
        found = (await drive.read()).registered
        assert sorted(found[name]) == ["champion", "newest"]

    async def test_registering_again_makes_no_second_version(self, drive: Drive, tmp_path: Path) -> None:
        """A registration that comes again after a crash leaves what is there as it is."""
        self.requires(ModelLogged, ModelRegistered)
        name = f"classifier {drive.run_id}"
        events = (_model_folder(tmp_path), ModelRegistered(TIME, name, "large", ("champion",)))
        first = await drive.start()
        await first.export(*events)
        again = await drive.start()
        await again.export(*events)
        found = await drive.read()
        assert found.registered[name] == ["champion"]
        assert found.versions.get(name, 1) == 1


def _model_file(folder: Path) -> ModelLogged:
    path = folder / "blob-small.pt"
    path.write_bytes(b"weights")
    return ModelLogged(TIME, "small", str(path), 7, path.stat().st_mtime_ns, True, 3, "pytorch", {"accuracy": 0.9})


def _model_folder(folder: Path) -> ModelLogged:
    path = folder / "blob-large"
    (path / "weights").mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_bytes(b"{}")
    (path / "weights" / "0.bin").write_bytes(bytes(1000))
    return ModelLogged(TIME, "large", str(path), 1002, path.stat().st_mtime_ns)
