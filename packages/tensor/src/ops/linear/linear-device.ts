import type { AdapterKind, Device } from '../../device/device.ts';

/** What the table knows of a device. */
export interface LinearDeviceKind {
  readonly kind: AdapterKind;
  /** Lanes that every subgroup has at least; 0 where subgroups are off. */
  readonly subgroupLanes: number;
  /** Workgroup memory that a kernel may use, in bytes. */
  readonly memoryBytes: number;
}

/** Kind of a device for the table of linear kernels. */
export function linearDeviceKind(device: Device): LinearDeviceKind {
  const subgroupLanes = device.has('subgroups') ? (device.gpu.adapterInfo.subgroupMinSize ?? 0) : 0;
  // More would leave little of it for other workgroups on the same core.
  const memoryBytes = Math.min(device.limits.maxComputeWorkgroupStorageSize, 32_768);
  return { kind: device.adapter.kind, subgroupLanes, memoryBytes };
}
