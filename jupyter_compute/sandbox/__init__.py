"""A rehearsal of AWS on this computer.

One process per user answers the AWS API (moto, with what it lacks) on loopback, and makes
every EC2 instance and every Fargate task real local processes from their real user-data
or command. It has knobs for what goes wrong in a cloud, keeps a log of all calls and a bill
of its own. No address that it hands out lies outside of this computer.
"""
