#!/bin/sh
# tidy <root>: drop from <root>/opt/groundplan what nothing can use at run time, then compile. A quarter of the size goes.
set -eu
lib=$1/opt/groundplan/lib packages=$1/opt/groundplan/lib/python3.11/site-packages

# Tests, headers, Cython's sources, source maps of the web UI. Not *.pyi: scikit-image reads its own to know what to import.
find "$lib" -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
find "$lib" -type f \( -name "*.a" -o -name "*.pyx" -o -name "*.pxd" -o -name "*.map" \) -delete

# OpenVINO's plugins for Intel GPUs and NPUs (prediction is meant for CPUs here), Arrow's RPC, a second, asynchronous client
# of Kubernetes (Dagster uses the other).
cd "$packages"
rm -rf openvino/libs/libopenvino_intel_gpu_plugin.so openvino/libs/libopenvino_intel_npu_plugin.so openvino/libs/cache.json
rm -rf pyarrow/*flight* kubernetes/aio

# OpenVINO's readers of files that are no ONNX and come from no torch; and what reports its use to its maker.
rm -rf openvino_telemetry
for kind in tensorflow tensorflow_lite paddle gguf jax; do rm -f openvino/libs/libopenvino_${kind}_frontend.so*; done

# Pictures and tables to learn those libraries with, and onnx's trials of itself.
for examples in skimage/data sklearn/datasets; do
    test ! -d "$examples" || find "$examples" -type f \( -name "*.png" -o -name "*.jpg" -o -name "*.gif" -o -name "*.tif" -o -name "*.np[yz]" \
        -o -name "*.csv" -o -name "*.gz" \) -delete
done
rm -rf onnx/backend/test

# Amazon's services that nothing here speaks to: of botocore's 400 descriptions these stay. Our own code alone has none.
test ! -d botocore || find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sqs ! -name sns ! -name sts ! -name sso ! -name sso-oidc \
    ! -name signin ! -name logs ! -name ecs ! -name secretsmanager ! -name ssm -exec rm -rf {} +

# Unchecked: a read-only file system cannot change under the byte code, and not looking at every source makes a pod start
# faster. Some packages carry templates that do not compile.
/opt/groundplan/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$1" -p / "$lib" || true
