"""The process that works messages off: images that arrived, and events that go out.

Here: taking messages, the four steps in their order, one transaction for results, sending events. Not here: the steps
(groundplan/single), brokers (resources/brokers), HTTP (serving/api).
"""
