"""Brokers of messages: tables, NATS JetStream, SQS, and memory for tests.

Here: a module for each way to keep the promises of groundplan/messages/port.py. Not here: which one a project uses
(resources/broker.py).
"""
