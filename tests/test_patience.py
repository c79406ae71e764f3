from evoflash.archive import Archive
from evoflash.candidate import Candidate
from evoflash.genome import Genome
from evoflash.patience import Patience
from tests.helpers import failed, right


def told(results: int | None, *times_us: float | None) -> Patience:
    patience, archive = Patience(results), Archive()
    for number, time_us in enumerate(times_us):
        candidate = Candidate(number, "family", Genome({"x": number}), "made")
        patience.tell(archive.add(candidate, failed() if time_us is None else right(time_us)))
    return patience


def test_it_ends_when_nothing_gains():
    assert not told(3, 10.0, 11.0, 12.0).is_over
    assert told(3, 10.0, 11.0, None, 12.0).is_over
    assert "last 3 results" in str(told(3, 10.0, 11.0, 12.0, 13.0))


def test_a_gain_counts_only_where_it_is_more_than_noise():
    assert not told(3, 10.0, 11.0, 11.0, 9.0, 11.0).is_over
    assert told(3, 10.0, 11.0, 11.0, 9.99).is_over


def test_it_waits_for_something_right_and_without_a_number_for_ever():
    assert not told(2, None, None, None, None).is_over
    assert not told(None, *([10.0] * 100)).is_over
