# A stand-in for the full python:X.Y image where it cannot be pulled: the slim one with Debian's build tools. The official
# one has more than this.
#
# hadolint global ignore=DL3006,DL3008
# The base is named by an argument, and a stand-in is as new as the Debian release that it is made from.

ARG SLIM
FROM ${SLIM}

LABEL org.opencontainers.image.description="Stand-in for the official image, made from Debian packages"

RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        autoconf automake build-essential curl file git gnupg libbz2-dev libcurl4-openssl-dev libffi-dev libgdbm-dev \
        libjpeg-dev liblzma-dev libncurses-dev libpng-dev libpq-dev libreadline-dev libsqlite3-dev libssl-dev \
        libwebp-dev libxml2-dev libxslt1-dev libyaml-dev mercurial openssh-client procps subversion tk-dev unzip \
        uuid-dev wget xz-utils zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
