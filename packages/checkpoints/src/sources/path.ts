import { PathError } from '../errors.ts';

const longestPath = 1024;

/**
 * Checks that `path` is a plain relative path and returns its segments. Names come out of files that nobody vouches for, so
 * everything that could name another folder, host or drive is refused: `..`, `.`, empty segments, a leading `/`, backslashes,
 * colons (drives, schemes, alternate streams) and control characters.
 *
 * @throws {@link PathError}
 */
export function pathSegments(path: string): string[] {
  const refuse = (why: string): never => {
    const shown = JSON.stringify(path.length > 120 ? `${path.slice(0, 120)}…` : path);
    throw new PathError(
      `File name ${shown} ${why}. Expected a relative path inside the checkpoint, such as "model.safetensors".`,
    );
  };
  if (typeof path !== 'string' || path.length === 0) throw new PathError('Expected a file name, got nothing.');
  if (path.length > longestPath) refuse(`is longer than ${longestPath} characters`);
  // oxlint-disable-next-line no-control-regex -- control characters are what this refuses
  if (/[\u0000-\u001f\u007f]/.test(path)) refuse('has control characters');
  if (path.includes('\\')) refuse('has a backslash');
  if (path.startsWith('/')) refuse('is an absolute path');
  if (path.includes(':')) refuse('has a colon, as in a URL or a drive');
  const segments = path.split('/');
  for (const segment of segments) {
    if (segment === '..' || segment === '.') refuse(`has the segment "${segment}", which could leave the folder`);
    if (segment === '') refuse('has an empty segment');
  }
  return segments;
}
