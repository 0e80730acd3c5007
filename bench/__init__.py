"""`make bench`: onebox beside the servers that it replaces.

Everything runs on this machine and on loopback only. The servers of a workload run side by side and take turns under the
same load, so that what disturbs the machine disturbs all of them; what is compared is CPU time, round by round.
"""
