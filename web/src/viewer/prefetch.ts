/** Which image to load next while nobody waits for one: the nearest that is not there, a step ahead before a step behind, within the memory there is. */
export function nextToLoad(
  count: number,
  index: number,
  isSettled: (index: number) => boolean,
  /** How many images around the current one may be held. */
  room: number,
): number | undefined {
  const reach = Math.min(count - 1, Math.max(index, count - 1 - index))
  let seen = 1
  for (let step = 1; step <= reach && seen < room; step += 1) {
    for (const candidate of [index + step, index - step]) {
      if (candidate < 0 || candidate >= count) continue
      seen += 1
      if (seen > room) return undefined
      if (!isSettled(candidate)) return candidate
    }
  }
  return undefined
}

/** Neighbouring loaded images as ranges `[from, to)`, for the strip. */
export function ranges(loaded: ReadonlySet<number>): [number, number][] {
  const out: [number, number][] = []
  for (const index of [...loaded].sort((a, b) => a - b)) {
    const last = out.at(-1)
    if (last && last[1] === index) last[1] = index + 1
    else out.push([index, index + 1])
  }
  return out
}
