"""What an answer waits for when its lines lie in several batches."""

from __future__ import annotations

import pytest
import trio

from orthros_kdc.audit.receipts import KEPT, Batch, Receipt
from orthros_protocol.errors import Unavailable


@pytest.mark.parametrize("failing", [0, 1, None])
async def test_an_answer_with_lines_in_two_batches_waits_for_both(failing: int | None) -> None:
    """Else a credential would leave whose line was lost, because that of the next one was kept."""
    batches = [Batch(), Batch()]
    receipt = KEPT
    for batch in (batches[0], batches[0], batches[1]):
        receipt = Receipt(batch).after(receipt, decided_at=trio.current_time())
    for number, batch in reversed([*enumerate(batches)]):
        assert not receipt.is_settled
        batch.settle(Unavailable("kdc-fault", "no space") if number == failing else None)
    assert receipt.is_settled
    if failing is None:
        await receipt.wait()
    else:
        with pytest.raises(Unavailable):
            await receipt.wait()
