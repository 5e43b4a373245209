"""The retry budget: what repeating costs, what success brings, and that both have an end."""

from __future__ import annotations

from tracket_async._http.limits import COST, COST_AFTER_TIMEOUT, SUCCESS, RetryBudget


def test_a_repetition_costs_five_and_ten_after_a_timeout():
    budget = RetryBudget(500)
    assert budget.withdraw(timed_out=False) == COST == 5
    assert budget.withdraw(timed_out=True) == COST_AFTER_TIMEOUT == 10
    assert budget.tokens == 485


def test_five_hundred_tokens_are_a_hundred_repetitions_and_no_more():
    budget = RetryBudget(500)
    assert all(budget.withdraw(timed_out=False) for _ in range(100))
    assert budget.tokens == 0
    assert budget.withdraw(timed_out=False) is None


def test_what_is_left_pays_for_the_cheaper_repetition_only():
    budget = RetryBudget(9)
    assert budget.withdraw(timed_out=True) is None
    assert budget.tokens == 9
    assert budget.withdraw(timed_out=False) == 5
    assert budget.withdraw(timed_out=False) is None


def test_five_successes_pay_for_one_repetition():
    budget = RetryBudget(500)
    while budget.withdraw(timed_out=False):
        pass
    for _ in range(4):
        budget.deposit(SUCCESS)
    assert budget.withdraw(timed_out=False) is None
    budget.deposit(SUCCESS)
    assert budget.withdraw(timed_out=False) == 5


def test_it_never_holds_more_than_its_capacity():
    budget = RetryBudget(6)
    budget.deposit(SUCCESS)
    assert budget.tokens == 6
    budget.withdraw(timed_out=False)
    budget.deposit(COST_AFTER_TIMEOUT)
    assert budget.tokens == 6


def test_without_a_capacity_everything_is_affordable():
    budget = RetryBudget(None)
    assert all(budget.withdraw(timed_out=True) == 10 for _ in range(1_000))
    budget.deposit(SUCCESS)
    assert budget.tokens is None
    assert repr(budget) == "<RetryBudget None of None>"
