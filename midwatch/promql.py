"""PromQL expressions from catalogue metrics: a label a metric does not have is refused when the expression is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from midwatch.errors import MidwatchError
from midwatch.metrics import Kind, Metric
from midwatch.spec.values import format_duration

TARGET_LABELS = frozenset({"job", "instance"})
"""Labels that Prometheus adds to every series it scrapes."""

Range = float | str
"""Seconds, or text such as `$__rate_interval` that a dashboard fills in."""


class ExpressionError(MidwatchError):
    """An expression that cannot mean anything."""


@dataclass(frozen=True)
class Matcher:
    """How a label is compared: `operator` is one of `=`, `!=`, `=~`, `!~`."""

    operator: str
    value: str


def not_equal(value: str) -> Matcher:
    """Match every other value."""
    return Matcher("!=", value)


def matches(pattern: str) -> Matcher:
    """Match an RE2 pattern, anchored."""
    return Matcher("=~", pattern)


@dataclass(frozen=True)
class Expr:
    """A PromQL expression; `precedence` says what binds it, 0 being a single term."""

    text: str
    precedence: int = 0

    def __str__(self) -> str:
        return self.text

    def _binary(self, operator: str, other: Expr | float | Decimal, precedence: int, modifier: str = "") -> Expr:
        right = other if isinstance(other, Expr) else number(other)
        left_text = f"({self})" if self.precedence > precedence else str(self)
        right_text = f"({right})" if right.precedence >= precedence and right.precedence else str(right)
        return Expr(f"{left_text} {operator}{modifier} {right_text}", precedence)

    def __add__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary("+", other, 2)

    def __sub__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary("-", other, 2)

    def __mul__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary("*", other, 1)

    def __truediv__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary("/", other, 1)

    def __gt__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary(">", other, 3)

    def __ge__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary(">=", other, 3)

    def __lt__(self, other: Expr | float | Decimal) -> Expr:
        return self._binary("<", other, 3)

    def equals(self, other: Expr | float | Decimal) -> Expr:
        """Keep the series whose value is equal."""
        return self._binary("==", other, 3)

    def over(self, other: Expr, *, on: Sequence[str], group_left: bool = False) -> Expr:
        """Divide by series that share only the labels in `on`; many to one with `group_left`."""
        return self._binary("/", other, 1, _on(on) + (" group_left()" if group_left else ""))

    def and_(self, other: Expr, *, on: Sequence[str] | None = None) -> Expr:
        """Keep the series that the other expression has too."""
        return self._binary("and", other, 4, "" if on is None else _on(on))

    def unless(self, other: Expr, *, on: Sequence[str] | None = None) -> Expr:
        """Keep the series that the other expression does not have."""
        return self._binary("unless", other, 4, "" if on is None else _on(on))

    def or_(self, other: Expr, *, on: Sequence[str] | None = None) -> Expr:
        """Add the series that only the other expression has."""
        return self._binary("or", other, 5, "" if on is None else _on(on))

    def minus(self, other: Expr, *, on: Sequence[str]) -> Expr:
        """Subtract series that share only the labels in `on`."""
        return self._binary("-", other, 2, _on(on))

    def reaches(self, other: Expr, *, on: Sequence[str]) -> Expr:
        """Keep the series that are not below the one that shares the labels in `on`."""
        return self._binary(">=", other, 3, f"{_on(on)} group_left ()")


def _on(labels: Sequence[str]) -> str:
    return f" on ({', '.join(labels)})"


def number(value: float | Decimal) -> Expr:
    """Exact decimal.

    >>> str(number(Decimal("1") - Decimal("0.999")))
    '0.001'
    """
    decimal = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not decimal.is_finite():
        raise ExpressionError(f"{value} is not a number PromQL can be given here")
    return Expr(format(decimal.normalize(), "f"))


def select(metric: Metric, suffix: str = "", **labels: str | Matcher) -> Expr:
    """Series of a metric; `suffix` is `_bucket`, `_sum` or `_count` of a histogram.

    Raises ExpressionError for a label or a suffix that the metric does not have.
    """
    if (metric.kind is Kind.HISTOGRAM) != (suffix in ("_bucket", "_sum", "_count")):
        raise ExpressionError(f"{metric.name} is a {metric.kind}; {suffix or 'no suffix'} does not fit it")
    known = {*metric.labels, *TARGET_LABELS, *(["le"] if suffix == "_bucket" else [])}
    ensure_labels(metric, set(labels) - known, known)
    matchers = [matcher(name, value) for name, value in sorted(labels.items())]
    return Expr(metric.name + suffix + ("{" + ", ".join(matchers) + "}" if matchers else ""))


def ensure_labels(metric: Metric, unknown: set[str], known: set[str]) -> None:
    """Raise ExpressionError when there are unknown labels."""
    if unknown:
        raise ExpressionError(
            f"{metric.name} has no label {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}"
        )


def matcher(name: str, value: str | Matcher) -> str:
    """Text of one matcher, its value escaped."""
    given = value if isinstance(value, Matcher) else Matcher("=", value)
    escaped = given.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}{given.operator}"{escaped}"'


def narrowed(selector: object, *matchers: str) -> Expr:
    """Add matchers, as text such as `version="v2"`, to a selector.

    >>> str(narrowed("orders_total", 'kind="late"')), str(narrowed('up{job="a"}', 'instance="b"'))
    ('orders_total{kind="late"}', 'up{job="a", instance="b"}')
    """
    name, _, inside = str(selector).partition("{")
    known = [inside.removesuffix("}")] if inside.strip("} ") else []
    return Expr(f"{name}{{{', '.join([*known, *matchers])}}}")


def bucket(metric: Metric, bound: float, **labels: str | Matcher) -> Expr:
    """Cumulative bucket of a histogram at an exact bound, in the metric's unit."""
    return select(metric, "_bucket", le=str(float(bound)), **labels)


def rate(series: Expr, window: Range) -> Expr:
    """Increase per second over a window."""
    return _over("rate", series, window)


def increase(series: Expr, window: Range) -> Expr:
    """Increase over a window, extrapolated to its edges."""
    return _over("increase", series, window)


def max_over_time(series: Expr, window: Range) -> Expr:
    """Largest value within a window."""
    return _over("max_over_time", series, window)


def _over(function: str, series: Expr, window: Range) -> Expr:
    return Expr(f"{function}({series}[{_range(window)}])")


def over_time(
    function: str, series: Expr, window: Range, *, step: Range | None = None, offset: Range | None = None
) -> Expr:
    """Aggregate a series over a window, `sum_over_time` for one; with a step, an expression evaluated so often.

    Prometheus evaluates it at whole multiples of the step. With an offset, the window ended so long ago.
    """
    if offset is not None:
        return Expr(f"{function}({series}[{_range(window)}] offset {_range(offset)})")
    if step is None:
        return _over(function, series, window)
    inner = f"({series})" if series.precedence else str(series)
    return Expr(f"{function}({inner}[{_range(window)}:{_range(step)}])")


def _range(window: Range) -> str:
    return window if isinstance(window, str) else format_duration(window)


def call(function: str, *arguments: Expr | float | Decimal) -> Expr:
    """Call a function of instant vectors and numbers."""
    return Expr(f"{function}({', '.join(str(one if isinstance(one, Expr) else number(one)) for one in arguments)})")


def at_end(series: Expr) -> Expr:
    """Take the value of a series at the evaluation of the whole query, also inside of a subquery."""
    return Expr(f"{series} @ end()")


def raw(text: str) -> Expr:
    """Take an expression that somebody else wrote; it is put in parentheses where it is combined."""
    return Expr(text, 6)


def sum_by(series: Expr, *labels: str) -> Expr:
    """Sum, keeping the labels given."""
    return Expr(f"sum by ({', '.join(labels)}) ({series})" if labels else f"sum({series})")


def min_by(series: Expr, *labels: str) -> Expr:
    """Minimum, keeping the labels given."""
    return Expr(f"min by ({', '.join(labels)}) ({series})" if labels else f"min({series})")


def max_by(series: Expr, *labels: str) -> Expr:
    """Maximum, keeping the labels given."""
    return Expr(f"max by ({', '.join(labels)}) ({series})" if labels else f"max({series})")


def mean_by(series: Expr, *labels: str) -> Expr:
    """Mean, keeping the labels given."""
    return Expr(f"avg by ({', '.join(labels)}) ({series})")


def count(series: Expr) -> Expr:
    """Number of series."""
    return Expr(f"count({series})")


def histogram_quantile(quantile: float, buckets: Expr) -> Expr:
    """Quantile, interpolated within its bucket."""
    return Expr(f"histogram_quantile({number(quantile)}, {buckets})")


def absent(series: Expr) -> Expr:
    """1 when there is no such series."""
    return Expr(f"absent({series})")


def timestamp_now() -> Expr:
    """Seconds since the epoch at evaluation."""
    return Expr("time()")


def same_label(series: Expr, label: str, other: str) -> Expr:
    """Copy a label's value into another label."""
    return Expr(f'label_replace({series}, "{other}", "$1", "{label}", "(.*)")')


def scraped(**labels: str | Matcher) -> Expr:
    """`up` of targets: 1 where the last scrape worked."""
    ensure_target = {name: value for name, value in labels.items() if name in TARGET_LABELS}
    if ensure_target != labels:
        raise ExpressionError("up has only the labels job and instance")
    matchers = ", ".join(matcher(name, value) for name, value in sorted(labels.items()))
    return Expr("up{" + matchers + "}" if matchers else "up")


def scraped_once(**labels: str | Matcher) -> Expr:
    """1 for every target that is scraped, by however many Prometheus."""
    return Expr(f"group by (job, instance) ({scraped(**labels)})")


def missing_targets(job: str, targets: int) -> Expr:
    """Fewer scraped targets of a job than there should be; with so many unknown (0), none at all.

    Targets that Prometheus discovers leave nothing behind when they go, not even an `up` that is 0. Which of them is
    missing their addresses do not tell: a pod that is replaced has another.
    """
    up = scraped(job=job)
    return absent(up).or_(count(up) < targets) if targets > 1 else absent(up)


# What dashboards ask beside that ----------------------------------------------------------------------------------


def count_by(series: Expr, *labels: str) -> Expr:
    """Number of series for each value of the labels given."""
    return Expr(f"count by ({', '.join(labels)}) ({series})")


def topk(number_of_series: int, series: Expr) -> Expr:
    """The largest ones."""
    return Expr(f"topk({number_of_series}, {series})")


def last_over_time(series: Expr, window: Range) -> Expr:
    """Newest value within a window, of series that ended in it too."""
    return _over("last_over_time", series, window)


def before(series: Expr, window: Range) -> Expr:
    """A plain selector's values of so long ago."""
    return Expr(f"{series} offset {window if isinstance(window, str) else format_duration(window)}")


def at_least(series: Expr, bound: float) -> Expr:
    """1 where a value is at least the bound, else 0."""
    return Expr(f"({series} >= bool {number(bound)})")


def clamp(series: Expr, low: float | Decimal, high: float | Decimal) -> Expr:
    """Values, none below the one and none above the other bound."""
    return Expr(f"clamp({series}, {number(low)}, {number(high)})")


def sqrt(series: Expr) -> Expr:
    """Square root of each value."""
    return Expr(f"sqrt({series})")


def vector(value: float) -> Expr:
    """One series without labels."""
    return Expr(f"vector({number(value)})")


def set_label(series: Expr, label: str, value: str) -> Expr:
    """Give every series the same value of a label; the value is text, not a pattern's replacement."""
    escaped = value.replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return Expr(f'label_replace({series}, "{label}", "{escaped}", "", "")')


def on_each(series: Expr, other: Expr, *labels: str) -> Expr:
    """The labels of `series` with the values of the one `other` that shares the labels given, where there is one."""
    zero = series * 0
    return Expr(f"{zero} + on ({', '.join(labels)}) group_left () ({other})", 2)
