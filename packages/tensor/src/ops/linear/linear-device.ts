import type { AdapterKind, Device } from '../../device/device.ts';
import type { MatrixConfig } from '../../device/subgroup-matrix.ts';

/** What the table knows of a device's matrix units. */
export interface MatrixUnits {
  readonly configs: readonly MatrixConfig[];
  /** Lanes of the largest subgroup. */
  readonly lanes: number;
  /** Most invocations of a workgroup. */
  readonly invocations: number;
}

/** What the table knows of a device. */
export interface LinearDeviceKind {
  readonly kind: AdapterKind;
  /** Lanes that every subgroup has at least; 0 where subgroups are off. */
  readonly subgroupLanes: number;
  /** Workgroup memory that a kernel may use, in bytes. */
  readonly memoryBytes: number;
  /** Most invocations of a workgroup; without, what every device allows. */
  readonly invocations?: number;
  /** None where subgroup matrices are off. */
  readonly matrices?: MatrixUnits;
}

/** Kind of a device for the table of linear kernels. */
export function linearDeviceKind(device: Device): LinearDeviceKind {
  const subgroupLanes = device.has('subgroups') ? (device.gpu.adapterInfo.subgroupMinSize ?? 0) : 0;
  // More would leave little of it for other workgroups on the same core.
  const memoryBytes = Math.min(device.limits.maxComputeWorkgroupStorageSize, 32_768);
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX } = device.limits;
  const invocations = Math.min(maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX);
  const kind = { kind: device.adapter.kind, subgroupLanes, memoryBytes, invocations };
  if (device.matrices.length === 0) return kind;
  const matrices: MatrixUnits = {
    configs: device.matrices,
    lanes: device.gpu.adapterInfo.subgroupMaxSize ?? 0,
    invocations,
  };
  return matrices.lanes > 0 ? { ...kind, matrices } : kind;
}
