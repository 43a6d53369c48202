const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Local time by a pattern of Python's `strftime`, in English whatever the locale; a code that is not known stays as it is. */
export function formatTime(time: Date, pattern: string): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const dayOfYear =
    Math.round((new Date(time).setHours(0, 0, 0, 0) - new Date(time.getFullYear(), 0, 1).getTime()) / 86_400_000) + 1;
  const fields: Record<string, string> = {
    Y: String(time.getFullYear()),
    y: two(time.getFullYear() % 100),
    m: two(time.getMonth() + 1),
    B: months[time.getMonth()]!,
    b: months[time.getMonth()]!.slice(0, 3),
    d: two(time.getDate()),
    j: String(dayOfYear).padStart(3, '0'),
    A: days[time.getDay()]!,
    a: days[time.getDay()]!.slice(0, 3),
    H: two(time.getHours()),
    I: two(time.getHours() % 12 || 12),
    p: time.getHours() < 12 ? 'AM' : 'PM',
    M: two(time.getMinutes()),
    S: two(time.getSeconds()),
    '%': '%',
  };
  return pattern.replace(/%([A-Za-z%])/g, (code, letter: string) => fields[letter] ?? code);
}
