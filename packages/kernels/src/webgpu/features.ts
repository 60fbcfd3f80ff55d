// What kernels may choose by, asked of an adapter.
import type { Features, Numbers, SubgroupMatrix } from "../wgsl/template/holes.ts"
import { isSoftware } from "./instance.ts"

/** Limits that are asked for at the adapter's maximum. */
const raised = [
  "maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY", "maxComputeWorkgroupSizeZ",
] as const satisfies readonly (keyof GPUSupportedLimits)[]
/** Optional features that kernels make use of. */
const optional = ["shader-f16", "subgroups", "timestamp-query", "chromium-experimental-subgroup-matrix"]

export function deviceDescriptor(adapter: GPUAdapter): GPUDeviceDescriptor {
  return {
    requiredFeatures: optional.filter((f) => adapter.features.has(f)) as GPUFeatureName[],
    requiredLimits: Object.fromEntries(raised.map((name) => [name, adapter.limits[name] as number])),
  }
}

/** Of an adapter that has experimental features. */
interface MoreInfo { readonly subgroupMinSize?: number; readonly subgroupMaxSize?: number; readonly subgroupMatrixConfigs?: Iterable<{ M: number; N: number; K: number; componentType: string; resultComponentType: string }> }

export function featuresOf(device: GPUDevice, adapter: GPUAdapter, languages: Iterable<string>, numbers: Numbers): Features {
  const { limits } = device
  const { subgroupMinSize: least, subgroupMaxSize: most, subgroupMatrixConfigs } = (adapter.info ?? {}) as MoreInfo
  const has = (name: string): boolean => (device.features as ReadonlySet<string>).has(name)
  return {
    software: isSoftware(adapter),
    half: has("shader-f16"),
    subgroup: has("subgroups") && least !== undefined && most !== undefined ? { least, most } : undefined,
    packedDot: new Set(languages).has("packed_4x8_integer_dot_product"),
    matrices: has("chromium-experimental-subgroup-matrix") ? Array.from(subgroupMatrixConfigs ?? [], (c): SubgroupMatrix => ({ m: c.M, n: c.N, k: c.K, component: c.componentType, result: c.resultComponentType })) : [],
    sharedBytes: limits.maxComputeWorkgroupStorageSize,
    threads: limits.maxComputeInvocationsPerWorkgroup,
    bindings: limits.maxStorageBuffersPerShaderStage,
    bindingBytes: Math.floor(limits.maxStorageBufferBindingSize / 16) * 16,
    numbers,
  }
}
