#!/bin/sh
# Debian's prometheus and promtool for the tests, unpacked into .prometheus beside this file; nothing is installed.
# Where both are on the PATH already, those are used.
set -eu
cd "$(dirname "$0")"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then exit 0; fi
if [ -x .prometheus/usr/bin/prometheus ] && [ -x .prometheus/usr/bin/promtool ]; then exit 0; fi
command -v apt-get >/dev/null || { echo "prometheus and promtool are not on the PATH: install them (not a Debian here)" >&2; exit 1; }
rm -rf .prometheus .prometheus.new
mkdir .prometheus.new
fetch() { (cd .prometheus.new && timeout 300 apt-get -qq -o Acquire::Retries=2 download prometheus 2>&1); }
said=$(fetch) || {
  timeout 300 apt-get -qq update >/dev/null 2>&1 || true # this machine may not have a list of packages yet
  said=$(fetch) || { echo "Debian's package prometheus cannot be downloaded: $said" >&2; exit 1; }
}
dpkg -x .prometheus.new/prometheus_*.deb .prometheus.new
rm .prometheus.new/prometheus_*.deb
mv .prometheus.new .prometheus
