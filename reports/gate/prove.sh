#!/usr/bin/env bash
# The gate's error rates, measured bit by bit: goes on from the gates that its file has, and prints the rates so far. It takes
# hours in all, on a machine that does nothing else: `bash reports/gate/prove.sh [GATES]`; stop it whenever you like.
set -euo pipefail
cd "$(dirname "$0")/../.."
gates=${1:-20}
file=reports/gate/self-test
# A false alarm is a figure, not an end.
measure() { cargo pb compare --quiet --self-test "$@" || [ $? -eq 1 ]; }

# Computing, and memory: each serial, on two threads and in two processes.
rows=prime_sum,array_local
# A dozen rows for the hogs.
dozen=prime_sum,dict_loop,csv_load,array_local

for gate in $(seq "$gates"); do
  measure --runs "$gate" --output "$file-all.jsonl" --kinds identical
  measure --runs "$((gate / 4))" --output "$file-all.jsonl" --kinds relinked
  measure --runs "$gate" --output "$file-some.jsonl" --only "$rows" \
    --kinds "cpu +3 %,cpu +5 %,cpu +10 %,one allocation a task,lost parallelism"
  measure --runs "$gate" --output "$file-hogs.jsonl" --only "$dozen" \
    --kinds "identical beside hogs,cpu +10 % beside hogs"
  measure --runs "$gate" --output "$file-wait.jsonl" --only url_download --kinds "wait +20 %"
done
