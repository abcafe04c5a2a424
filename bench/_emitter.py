"""The process whose memory bench.memory measures; until it has taken its first reading it imports next to nothing."""

import json
import sys
from pathlib import Path

NULL = "bench._backends:Null"


def emit(events: int, directory: Path) -> dict[str, float]:
    """Log so many metrics, with nobody to deliver them; the memory in MiB before, at the highest and afterwards."""
    before = peak = reading()
    import tracelet

    run = tracelet.start_logging({NULL: {}}, exp_name="memory", directory=directory)
    for step in range(events):
        run.log_metric("train/loss", 0.5, step)
        if step % 50_000 == 0:
            peak = {name: max(size, peak[name]) for name, size in reading().items()}
    found: dict[str, float] = {"pending": run.status().backends[NULL].pending}
    for moment, sizes in (("before", before), ("peak", peak), ("after", reading())):
        found |= {f"{moment}_{name}": size for name, size in sizes.items()}
    found["disk"] = sum(file.stat().st_size for file in run.directory.rglob("*.seg"))
    run.finish()
    return found


def reading() -> dict[str, float]:
    """What this process has in memory, in MiB: of its own (anon), of files it has mapped, and shared (shmem)."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {words[0]: float(words[1]) / 1024 for words in lines if words[0].startswith("Rss")}
    return {"anon": sizes["RssAnon:"], "file": sizes["RssFile:"], "shmem": sizes["RssShmem:"]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(emit(int(sys.argv[1]), Path(sys.argv[2]))))
