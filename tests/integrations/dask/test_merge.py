"""The merge of parts: the same bytes, verdicts and refusals as an export on one machine."""

from __future__ import annotations


async def test_an_export_in_parts_has_the_bytes_of_one_machine(launch, api, whole, in_parts, parts_folder):
    async with launch(api, sample=3_000) as (_, client):
        expected = await whole(client)
        found = await in_parts(client, 200)
        assert found == expected
        assert {path.name for path in parts_folder.iterdir()} == {"plan.json.lock"}
