import { Skeleton } from '@mantine/core'

/** Rows that hold the place of a table while it loads, so that nothing jumps when it comes. */
export function SkeletonRows({ rows, columns }: { rows: number; columns: number }) {
  return (
    <>
      {Array.from({ length: rows }, (_, row) => (
        <tr key={row} aria-hidden>
          {Array.from({ length: columns }, (_, column) => (
            <td key={column}>
              <Skeleton height={12} my={4} width={`${45 + ((row * 7 + column * 23) % 45)}%`} />
            </td>
          ))}
        </tr>
      ))}
    </>
  )
}
