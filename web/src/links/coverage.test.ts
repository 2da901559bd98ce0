import { expect, it } from 'vitest'
import { coverage } from './coverage'

const check = (name: string, count: number) => ({ name, count, text: '', sql: '', good: true })

it('tells shares of what is there, by what is covered or by what lacks', () => {
  expect(coverage([check('studies', 60), check('studies_linked', 52), check('image_occurrences', 90), check('without_anatomic_site', 9)])).toEqual([
    { name: 'Studies tied to a person', whole: 60, part: 52 },
    { name: 'Rows with an anatomic site', whole: 90, part: 81 },
  ])
  expect(coverage([check('series', 5), check('image_occurrences', 7)])).toEqual([{ name: 'Series in image_occurrence', whole: 5, part: 5 }])
  expect(coverage([])).toEqual([])
})
