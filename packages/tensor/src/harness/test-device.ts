import type { Device, DeviceOptions } from '../device/device.ts';
import { requestDevice } from '../device/device.ts';

const devices = new Map<string, Promise<Device>>();

/** The device of this test process, asked for once per set of options. It throws, and so fails the test, where there is no adapter. */
export function testDevice(options: DeviceOptions = {}): Promise<Device> {
  const key = JSON.stringify(options);
  const known = devices.get(key);
  if (known) return known;
  const made = requestDevice(options);
  devices.set(key, made);
  return made;
}
