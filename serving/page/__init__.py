"""The live page: what the platform is doing now, for people who would rather look than read.

One poller (:mod:`serving.page.live`) follows the tables' logs, the checkpoints, Kafka and the registry for all who
look, renders the parts that changed once (:mod:`serving.page.parts`), and sends them to everybody as server-sent
events. What events say is text on the page, never markup: templates escape everything.
"""
