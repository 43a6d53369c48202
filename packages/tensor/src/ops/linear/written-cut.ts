/** Cuts of kernels that write prepared rows. */
import type { LinearDeviceKind } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import { blockMemoryBytes } from './matvec-blocks.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { keptBytes, matvecMemoryBytes, outputsPerWorkgroup } from './matvec.wgsl.ts';
import { rowUnit } from './prepared-rows.wgsl.ts';

/** Invocations of a workgroup that every device allows. */
const portableInvocations = 256;

/** Workgroup memory of a kernel, whichever it is. */
function memoryBytes(slots: LinearSlots, cut: MatvecCut): number {
  if (cut.blocks) return blockMemoryBytes({ slots, cut });
  return cut.subgroups ? keptBytes({ slots, cut }) : matvecMemoryBytes({ slots, cut });
}

/** Whether a kernel can write what its slots want written: its workgroups make whole units of each row. */
export function writesRows(device: LinearDeviceKind, slots: LinearSlots, cut: MatvecCut): boolean {
  if (!slots.written) return true;
  const unit = rowUnit[slots.written.form.arithmetic];
  return outputsPerWorkgroup(cut) % unit === 0 && memoryBytes(slots, cut) <= device.memoryBytes;
}

/**
 * A cut with workgroups that are large enough for whole units of prepared rows, where it writes any: more groups of lanes, or more outputs
 * each and then fewer rows. As it was where it need not change or cannot.
 */
export function writingCut(device: LinearDeviceKind, slots: LinearSlots, cut: MatvecCut): MatvecCut {
  if (writesRows(device, slots, cut)) return cut;
  const invocations = device.invocations ?? portableInvocations;
  // Who stages rows does it with a fixed number of invocations.
  const most = (cut.blocks?.tiles ?? 0) > 0 ? cut.workgroup : invocations;
  const unit = rowUnit[slots.written!.form.arithmetic];
  for (let { outputs } = cut; outputs * matricesOf(slots) <= 8; outputs *= 2) {
    const workgroup = Math.max(cut.workgroup, (unit * cut.lanes) / outputs);
    if (workgroup > most) continue;
    for (let chunks = Math.ceil(slots.rows / cut.rows); chunks <= slots.rows; chunks++) {
      const rows = Math.ceil(slots.rows / chunks);
      const grown = { ...cut, workgroup, outputs, rows };
      if (outputs * matricesOf(slots) * rows <= 32 && writesRows(device, slots, grown)) return grown;
    }
  }
  return cut;
}
