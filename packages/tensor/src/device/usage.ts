/** Buffer usage flags of WebGPU by value, since Node has no global `GPUBufferUsage`. */
export const usage = {
  mapRead: 0x0001,
  copySource: 0x0004,
  copyTarget: 0x0008,
  uniform: 0x0040,
  storage: 0x0080,
  queryResolve: 0x0200,
} as const;

/** `GPUShaderStage.COMPUTE`. */
export const computeStage = 4;
/** `GPUMapMode.READ`. */
export const mapModeRead = 1;
