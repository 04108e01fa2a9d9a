# A machine with Debian's Podman, for a test of the recipe.
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends podman netavark aardvark-dns crun catatonit iptables nftables
# Podman inside of a container: no systemd, and no limits above those of the container.
RUN mkdir -p /etc/containers && printf '%s\n' \
    '[containers]' 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]' \
    '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "file"' >/etc/containers/containers.conf
