"""One writer at a time: a lock file beside the SQLite file, released by the system when its process dies."""

from pathlib import Path

from filelock import FileLock, Timeout

from evoflash.errors import StorageError

# A reader that asks whether a writer lives holds the lock for an instant; a writer outlasts that.
LOCK_SECONDS = 1.0


def lock_for_writing(path: Path) -> FileLock:
    """Makes the folder of a database and takes its lock.

    Raises:
        StorageError: when another search holds it, or the folder cannot be written.
    """
    lock = _lock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StorageError(
            f"another search writes to {path}; wait until it ends, or give this one its own database with --db other.db"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(
            f"cannot write in {path.parent}: {error}; check that the folder can be written, or give another with --db"
        ) from None
    return lock


def is_locked(path: Path) -> bool:
    """Whether a process that lives may be writing to the database."""
    if not _lock_path(path).exists():
        return False
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return True  # another's file: believe what the database says
    lock.release()
    return False


def _lock(path: Path) -> FileLock:
    return FileLock(_lock_path(path), thread_local=False)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
