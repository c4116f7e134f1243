"""The data root, and the code that fills it. (A package, so that no installed package called `datasets` is imported instead.)

prepare   what is asked for? (a command)
sources   where do the pictures come from, and which of an archive's members is which class?
download  how does an archive arrive whole, however often the line breaks?
archives  how are pictures taken out of an archive that is not trusted?
placing   how do lists and folders come into place together, or not at all?
splits    how are lists drawn where the paper's are not used?
own       how does a folder of one's own become a dataset?
apart     do images, dataset and outputs lie apart?
trees     what lies below a folder that is not trusted?
labels    which labels does a table give?
names     which names can lists express, each given once?
telling   what does --help say of each command?
images    do image files decode, and what do they hold?
checking  is what lies there what the lists say?
"""
