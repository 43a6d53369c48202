/** Most rounds that are in flight at once. */
export const maxRoundsInFlight = 4;
/** Longest stop string in bytes; a token may be one byte, and all of them may have to be taken back. */
export const maxStopStringBytes = 256;
