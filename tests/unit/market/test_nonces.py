from concurrent.futures import ThreadPoolExecutor

from allora_mqtt.market.nonces import NonceSource


def test_a_nonce_is_the_time() -> None:
    assert NonceSource(lambda: 1_700_000_000_000).next() == 1_700_000_000_000


def test_it_rises_when_the_clock_stands_or_goes_back() -> None:
    times = iter([100, 100, 50, 102, 200])
    source = NonceSource(lambda: next(times))
    assert [source.next() for _ in range(5)] == [100, 101, 102, 103, 200]


def test_it_goes_on_after_the_stored_one() -> None:
    assert NonceSource(lambda: 100, last=500).next() == 501


def test_threads_never_share_one() -> None:
    source = NonceSource(lambda: 7)
    with ThreadPoolExecutor(8) as pool:
        nonces = list(pool.map(lambda _: source.next(), range(2000)))
    assert len(set(nonces)) == 2000


def test_it_comes_back_from_where_a_wrong_clock_had_led_it_and_the_exchange_takes_none() -> None:
    day_ms = 86_400_000
    times = iter([3 * day_ms, 5, 6])
    source = NonceSource(lambda: next(times))
    assert [source.next() for _ in range(3)] == [3 * day_ms, 5, 6]
    assert NonceSource(lambda: 0, last=day_ms).next() == day_ms + 1
