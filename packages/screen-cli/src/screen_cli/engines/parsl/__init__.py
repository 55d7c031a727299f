"""The engine past one machine: what the driver, the nodes, and the processes between them do."""
