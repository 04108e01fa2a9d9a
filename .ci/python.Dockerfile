# A stand-in for the official python:X.Y-slim image where no registry can be reached. What a Dockerfile can notice is laid
# out as upstream does it: interpreter and pip in /usr/local, no tests and no bytecode in the standard library, no USER.
#
# hadolint global ignore=DL3008
# No package has its version pinned: a stand-in is as new as the Debian release that it is made from.

ARG DEBIAN
ARG ORIGIN


# CPython as its authors published it, compiled like the official image. Link-time and profile-guided optimisation are
# left out: they triple the time and change nothing that can be seen but speed.
FROM ${DEBIAN} AS from-source

ARG VERSION
ARG DEBIAN_FRONTEND=noninteractive
WORKDIR /usr/src/python
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# Debian's archive holds the untouched tarball; its own patches, which move things about, lie in a file beside it.
RUN sed 's/^deb /deb-src /' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list \
 && apt-get -qq update \
 && apt-get -qq install --yes --no-install-recommends dpkg-dev gcc libbz2-dev libc6-dev libffi-dev libgdbm-dev liblzma-dev \
        libncurses-dev libreadline-dev libsqlite3-dev libssl-dev make uuid-dev xz-utils zlib1g-dev \
 && apt-get -qq source --download-only "python${VERSION}" \
 && tar --extract --strip-components=1 --file python*.orig.tar.xz \
 && ./configure --quiet --enable-shared --enable-loadable-sqlite-extensions --enable-option-checking=fatal \
        --with-ensurepip --disable-test-modules LDFLAGS=-Wl,--strip-all \
 && make --silent --jobs "$(nproc)" \
 && make --silent install \
 && ldconfig


# CPython from Debian's binary packages, for the versions whose source is not to be had: moved to /usr/local, and
# Debian's own idea of where packages go (dist-packages) undone.
FROM ${DEBIAN} AS from-packages

ARG VERSION
ARG DEBIAN_FRONTEND=noninteractive
WORKDIR /usr/src/python
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

RUN apt-get -qq update \
 && apt-get -qq install --yes --no-install-recommends "python${VERSION}-venv" \
 && apt-get -qq download "libpython${VERSION}-dev" \
 && dpkg-deb --extract libpython*.deb headers

# /usr/local/lib/pythonX.Y is a directory of Debian's with an empty dist-packages in it. The second copy of a header
# turns the pyconfig.h that only points to Debian's directory for this processor into the real one.
RUN rm -rf "/usr/local/lib/python${VERSION}" \
 && cp --recursive "/usr/lib/python${VERSION}" /usr/local/lib/ \
 && cp "/usr/bin/python${VERSION}" /usr/local/bin/ \
 && ln -s "python${VERSION}" /usr/local/bin/python3 \
 && cp --recursive "headers/usr/include/python${VERSION}" /usr/local/include/ \
 && cp headers/usr/include/*-linux-gnu/python*/pyconfig.h "/usr/local/include/python${VERSION}/"

WORKDIR /usr/local/lib/python${VERSION}

# The module site is read from the interpreter's own binary, where only a name of equal length can take another's place.
RUN rm -f EXTERNALLY-MANAGED sitecustomize.py _distutils_system_mod.py build-details*.json lib-dynload/{*_test*,xx*}.so \
 && sed -i 's/dist-packages/site-packages/g' site.py "/usr/local/bin/python${VERSION}" \
 && sed -i "s/prefix_scheme = 'posix_local'/prefix_scheme = 'posix_prefix'/" sysconfig/__init__.py \
 && mkdir site-packages ensurepip/_bundled \
 && cp /usr/share/python-wheels/pip-*.whl ensurepip/_bundled/ \
 && PYTHONPATH=$(echo ensurepip/_bundled/pip-*.whl) "python${VERSION}" -m pip install --quiet --no-index \
        --root-user-action ignore ensurepip/_bundled/pip-*.whl


# hadolint ignore=DL3006
FROM ${ORIGIN} AS interpreter

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# The packages that own the libraries which interpreter and extension modules are linked with.
RUN find /usr/local '(' -name '*.so*' -o -path '/usr/local/bin/python*' ')' -type f -exec ldd '{}' ';' 2>/dev/null \
      | awk '$3 ~ "^/(usr/)?lib/" { sub(".*/", "*/", $3); print $3 }' | sort --unique \
      | xargs dpkg-query --search | awk 'sub(":$", "", $1) { print $1 }' | sort --unique >/libraries \
 && for name in idle pip pydoc python python-config; do \
        [[ ! -e /usr/local/bin/${name}3 ]] || ln -sfT "${name}3" "/usr/local/bin/${name}"; \
    done \
 && find /usr/local -depth '(' -type d '(' -name test -o -name tests -o -name idle_test -o -name __pycache__ ')' \
        -o -type f -name 'libpython*.a' ')' -exec rm -rf '{}' +


FROM ${DEBIAN}

LABEL org.opencontainers.image.description="Stand-in for the official image, made from Debian packages"
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin

COPY --from=interpreter /usr/local /usr/local

# Where a proxy re-signs TLS, the machine trusts a certificate that no public list has. The image trusts what the machine
# does, as a company's own base image would, so that pip reaches the index in every build and container with no option.
RUN --mount=type=bind,from=interpreter,source=/libraries,target=/tmp/libraries \
    --mount=type=secret,id=ca,target=/tmp/ca.crt,required=true \
    apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive xargs --arg-file /tmp/libraries \
        apt-get -qq install --yes --no-install-recommends ca-certificates netbase tzdata \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
 && ldconfig \
 && awk '/BEGIN CERTIFICATE/ { pem = "" } { pem = pem $0 "\n" } \
        /END CERTIFICATE/ { if (FNR == NR) known[pem]; else if (!(pem in known)) \
            printf "%s", pem >("/usr/local/share/ca-certificates/machine-" FNR ".crt") }' \
        /etc/ssl/certs/ca-certificates.crt /tmp/ca.crt \
 && update-ca-certificates

CMD ["python3"]
