#!/bin/sh
# Fetches the jars of one Apache Kafka version with Maven: fetch.sh VERSION DEST
# Does nothing when DEST is complete. Safe when several processes ask at once: one lock for all versions
# (Maven's own cache is not safe to share either), and the marker file is written last.
set -eu

version=${1:?"usage: fetch.sh VERSION DEST"}
dest=${2:?"usage: fetch.sh VERSION DEST"}
pom=$(dirname "$0")/pom.xml
case $version in 2.[0-6].*) pom=$(dirname "$0")/pom-old.xml ;; esac
# Maven would take a relative path as relative to the pom.
case $dest in /*) ;; *) dest=$PWD/$dest ;; esac
# A changed pom must not leave the jars of the old one in use.
wanted="$version $(cksum < "$pom")"

complete() { [ -f "$dest/.complete" ] && [ "$(cat "$dest/.complete")" = "$wanted" ]; }
fail() { echo "fetch.sh: $*" >&2; exit 1; }

# Asked first: with the jars in place a missing java would otherwise show as a broker that cannot be started.
command -v java > /dev/null || fail "java was not found; the tests on real Kafka need a Java 17 runtime (Debian: apt-get install default-jre-headless)"
complete && exit 0
command -v mvn > /dev/null || fail "mvn was not found; the tests on real Kafka fetch the brokers with Maven (Debian: apt-get install maven)"
command -v flock > /dev/null || fail "flock was not found; it is part of util-linux"

mkdir -p "$(dirname "$dest")"
exec 9> "$(dirname "$dest")/.lock"
flock 9
complete && exit 0
rm -rf "$dest"
# The plugin's version is pinned so that all machines resolve alike.
mvn --batch-mode --quiet --file "$pom" \
  org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -Dkafka.version="$version" -DincludeScope=runtime -DoutputDirectory="$dest" 9>&- >&2 ||
  fail "Maven could not fetch Kafka $version, see above"
echo "$wanted" > "$dest/.complete"
