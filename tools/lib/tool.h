/* SPDX-License-Identifier: Apache-2.0 */
/* tool - the commands of the one executable. Each takes its arguments (argv[0] is the command's
 * name) and returns the exit status: 0 done, 1 not done, with one line on stderr. */
#ifndef TOOLS_LIB_TOOL_H
#define TOOLS_LIB_TOOL_H

int cmd_broker_api_versions(int argc, char **argv);
int cmd_cluster(int argc, char **argv);
int cmd_configs(int argc, char **argv);
int cmd_console_consumer(int argc, char **argv);
int cmd_console_producer(int argc, char **argv);
int cmd_consumer_groups(int argc, char **argv);
int cmd_consumer_perf_test(int argc, char **argv);
int cmd_delete_records(int argc, char **argv);
int cmd_describe(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_dump_log(int argc, char **argv);
int cmd_get_offsets(int argc, char **argv);
int cmd_healthcheck(int argc, char **argv);
int cmd_leader_election(int argc, char **argv);
int cmd_log_dirs(int argc, char **argv);
int cmd_producer_perf_test(int argc, char **argv);
int cmd_reassign_partitions(int argc, char **argv);
int cmd_topics(int argc, char **argv);

#endif
