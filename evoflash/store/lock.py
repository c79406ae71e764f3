"""The writer's lock: a lock file next to the SQLite file, released by the system when its process dies."""

from pathlib import Path

from filelock import FileLock, Timeout

from evoflash.errors import StorageError

# A reader holds the lock for a moment when it checks for a writer, so a writer retries for this long.
LOCK_SECONDS = 1.0


def lock_for_writing(path: Path) -> FileLock:
    """Creates the folder of a database and takes the lock.

    Raises:
        StorageError: when another search has the lock, or the folder cannot be written.
    """
    lock = _lock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StorageError(
            f"another search is writing to {path}; wait until it ends, or use another database with --db other.db"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(
            f"cannot write to {path.parent}: {error}; check that the folder can be written, or give another with --db"
        ) from None
    return lock


def is_locked(path: Path) -> bool:
    """Whether a live process may be writing to the database."""
    if not _lock_path(path).exists():
        return False
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return True  # the lock file belongs to another user, so a writer may exist
    lock.release()
    return False


def _lock(path: Path) -> FileLock:
    return FileLock(_lock_path(path), thread_local=False)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
